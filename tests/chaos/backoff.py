"""Waits between tries: full jitter, and never less than the server asks for."""

import random

FIRST_SECONDS = 0.1
LAST_SECONDS = 2.0


class Backoff:
    """Grows with each failure, until `reset`."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._failures = 0

    def next(self, floor_seconds: float = 0.0) -> float:
        """Return how long to wait after one more failure."""
        longest = min(LAST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._failures, 8))
        self._failures += 1
        return floor_seconds + self._chance.uniform(0, longest)

    def reset(self) -> None:
        """Begin with short waits again."""
        self._failures = 0
