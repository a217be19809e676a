"""Applies the policy to the grants that are live: at the start, and whenever the policy has changed."""

import asyncio
import time

from roots.runtime import logs
from roots.runtime.episodes import Episode
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.grants import Grants

RETRY_SECONDS = 0.5

log = logs.get(__name__)


class PolicyChanges:
    """Withdraws what the policy no longer allows, once for each request."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._requested = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def request(self) -> None:
        """Have the policy applied soon; callable from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._requested.set)

    async def run(self) -> None:
        """Apply it now and at each request, until cancelled; while NATS is away, try again."""
        self._loop = asyncio.get_running_loop()
        # The policy may have changed while no replica ran.
        self._requested.set()
        failures = Episode(log, "applying_policy")
        while True:
            await self._requested.wait()
            self._requested.clear()
            started = time.monotonic()
            try:
                revoked = await self._grants.reapply_policy()
            except BrokerUnavailableError as error:
                failures.failed(error.reason)
                self._requested.set()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                failures.ended()
                seconds = round(time.monotonic() - started, 3)
                log.info("policy_applied", clients=revoked.clients, paths=revoked.paths, seconds=seconds)
