"""Withdraws paths whose own end has come (when a token expires, for example), so that clients receive the withdrawal.

Longpoll stops delivering at that second by itself; the `::+::disconnect` that the client receives is a change of
its record with a number that it acknowledges like every other (I3). Every replica does it, from its index, and
compare-and-set lets one of them succeed for each record.
"""

import asyncio
import time

from roots.runtime import logs
from roots.runtime.episodes import Episode
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.grants import Grants

# Clients receive it within a second, and most of that is for the writes.
CHECK_INTERVAL_SECONDS = 0.25
RETRY_SECONDS = 0.5

log = logs.get(__name__)


class ExpiredPathWithdrawal:
    """Looks a few times a second for what has ended."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    async def run(self) -> None:
        """Withdraw what has ended until cancelled; while NATS is away it is tried again."""
        failures = Episode(log, "ending_grants")
        while True:
            try:
                ended = await self._grants.withdraw_expired(time.time())
            except BrokerUnavailableError as error:
                failures.failed(error.reason)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            failures.ended()
            if ended.paths:
                log.info("grants_ended", clients=ended.clients, paths=ended.paths)
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)
