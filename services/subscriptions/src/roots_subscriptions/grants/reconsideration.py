"""Applies the policy to the grants that are live: at the start, and whenever the policy has changed."""

import asyncio
import time

from roots.runtime import logs
from roots.runtime.episodes import Episode
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.grants import Grants

RETRY_SECONDS = 0.5

log = logs.get(__name__)


class Reconsideration:
    """Withdraws what the policy allows no more, as often as it is asked to."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self) -> None:
        """Have it done soon; callable from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._asked.set)

    async def run(self) -> None:
        """Do it now and whenever it is asked for, until cancelled; while NATS is away it is tried again."""
        self._loop = asyncio.get_running_loop()
        # The policy may have changed while no replica ran.
        self._asked.set()
        failures = Episode(log, "reconsidering_grants")
        while True:
            await self._asked.wait()
            self._asked.clear()
            started = time.monotonic()
            try:
                revoked = await self._grants.reconsider_all()
            except BrokerUnavailableError as error:
                failures.failed(error.reason)
                self._asked.set()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                failures.ended()
                seconds = round(time.monotonic() - started, 3)
                log.info("grants_reconsidered", clients=revoked.clients, paths=revoked.paths, seconds=seconds)
