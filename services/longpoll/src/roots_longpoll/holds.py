"""When holds end: polls in coarse buckets of time, so that holding one needs no timer of its own."""

import random
import time

from roots_longpoll.poll import Poll

TICKS_PER_SECOND = 4
MAX_HOLD_SECONDS = 60.0
# One bucket for each tick of the longest hold, and a few that are never in use at the same time.
_BUCKETS = int(MAX_HOLD_SECONDS * TICKS_PER_SECOND) + 4
# Holds end spread over this part of their time, so that clients that came together don't come back together.
_SHORTEST = 0.8


class Holds:
    """The polls that have a deadline, a random 0.8-1.0 of `hold_seconds` after they came."""

    def __init__(self, hold_seconds: float) -> None:
        self._ticks = hold_seconds * TICKS_PER_SECOND
        self._buckets: list[set[Poll]] = [set() for _ in range(_BUCKETS)]
        self._ticked = self._now()

    def add(self, poll: Poll) -> None:
        """Give `poll` its deadline."""
        ticks = self._ticks * random.uniform(_SHORTEST, 1.0)  # noqa: S311  # no secret
        bucket = self._buckets[(self._now() + max(1, int(ticks))) % _BUCKETS]
        bucket.add(poll)
        poll.bucket = bucket

    def remove(self, poll: Poll) -> None:
        """Take the deadline back."""
        if poll.bucket is not None:
            poll.bucket.discard(poll)
            poll.bucket = None

    def due(self) -> list[Poll]:
        """Return the polls whose deadline has come since the last call; they have none any more."""
        now = self._now()
        due: list[Poll] = []
        # After a pause longer than all buckets, each bucket is due once.
        for tick in range(max(self._ticked, now - _BUCKETS) + 1, now + 1):
            bucket = self._buckets[tick % _BUCKETS]
            due += bucket
            bucket.clear()
        self._ticked = now
        for poll in due:
            poll.bucket = None
        return due

    @staticmethod
    def _now() -> int:
        return int(time.monotonic() * TICKS_PER_SECOND)
