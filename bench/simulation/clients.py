"""Who polls, as simulations: the load generator of `bench`, and clients all over the world.

Both say when a client reads an answer and when its next poll arrives. Units: seconds.
"""

import random
from collections.abc import Iterable
from typing import Protocol


class Clients(Protocol):
    """The other side of a replica's connections."""

    def answered(self, written: float) -> tuple[float, float]:
        """Return when the answer written now is read, and when the next poll arrives."""

    def accepted(self, now: float, /) -> Iterable[tuple[int, float]]:
        """Return who connects, and when, because a connection was accepted now."""


class Load:
    """One process on a core of its own that reads every answer: all clients of a benchmark together.

    Shape: it connects those who wait, so many at once. Units: seconds of wall time for each answer and each connection.
    """

    def __init__(self, *, delivery: float, connection: float = 0.0, waiting: Iterable[int] = ()) -> None:
        self._delivery = delivery
        self._connection = connection
        self._waiting = iter(waiting)
        self._free = 0.0

    def answered(self, written: float) -> tuple[float, float]:
        """Read in turn; half of a delivery is over when the answer is read, the other half asks again."""
        began = max(written, self._free)
        self._free = began + self._delivery
        return began + self._delivery / 2, self._free

    def accepted(self, now: float) -> Iterable[tuple[int, float]]:
        """Connect the next one."""
        for client in self._waiting:
            self._free = max(now, self._free) + self._connection
            yield client, self._free
            return


class World:
    """Clients on devices of their own, each at its distance: a log-normal round trip."""

    def __init__(self, *, median: float, sigma: float, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311  # no secret
        # Drawn once and taken in turn: a random number for each answer would cost most of the simulation.
        self._trips = [median * chance.lognormvariate(0.0, sigma) for _ in range(8192)]
        self._turn = 0

    def answered(self, written: float) -> tuple[float, float]:
        """Read after half of a round trip; the next poll comes after the other half."""
        self._turn = (self._turn + 1) % len(self._trips)
        trip = self._trips[self._turn]
        return written + trip / 2, written + trip

    def accepted(self, _now: float) -> Iterable[tuple[int, float]]:
        """Nobody waits for another's connection."""
        return ()
