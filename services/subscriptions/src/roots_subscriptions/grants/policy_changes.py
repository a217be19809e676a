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
    """Withdraws what the policy no longer allows. One event loop owns it."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Have the policy applied soon."""
        self._requested.set()

    async def run(self) -> None:
        """Apply it at the start and at each request, until cancelled; while NATS is away, try again."""
        # The policy may have changed while no replica ran, or the last run was cancelled amid its work.
        self._requested.set()
        failures = Episode(log, "applying_policy_to_grants")
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
                log.info("policy_applied_to_grants", clients=revoked.clients, paths=revoked.paths, seconds=seconds)
