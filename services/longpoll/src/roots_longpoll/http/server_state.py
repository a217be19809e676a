"""What the connections of one replica share: limits, a clock, and the sweep that ends those past their deadline."""

import time
from collections.abc import Iterable
from typing import Protocol

from roots.runtime import descriptors
from roots_longpoll.delivery.stats import Stats
from roots_longpoll.http import rendering
from roots_longpoll.http.rendering import Heads
from roots_longpoll.http.requests import KnownBytes

# A sweep looks at every eighth connection, so that it stays short with many; a deadline is kept to a second.
SWEEPS_PER_SECOND = 8
STALE_SECONDS = 30.0
# Connections that are refused at a time: fewer than the descriptors that are spared for the rest of the process.
MAX_REFUSED = descriptors.SPARE // 4
_NO_VIEW = "The replica has no fresh view of NATS."


class Swept(Protocol):
    """A connection, as the sweep sees it. Units: deadline is monotonic seconds."""

    deadline: float

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""

    def time_out(self) -> None:
        """End the connection."""


class ServerState:
    """The connections of one replica and what they may do.

    Shape: origins are those whose pages may poll from elsewhere. refusal is why no poll can be served now, if so.
    """

    def __init__(self, stats: Stats, *, max_connections: int, origins: Iterable[str] = ()) -> None:
        self.stats = stats
        self.heads = Heads()
        self.origins = frozenset(origins)
        self.is_draining = False
        self.known = KnownBytes()
        # A clock that the sweep sets, which is as exact as deadlines are kept.
        self.now = time.monotonic()
        self.refusal: str | None = _NO_VIEW
        self._max_connections = max_connections
        self._took_last = False
        self._slices: list[set[Swept]] = [set() for _ in range(SWEEPS_PER_SECOND)]
        self._next_slice = 0

    def add(self, connection: Swept) -> bool:
        """Take `connection` in; return whether there was room for it."""
        self.stats.connections += 1
        self._slices[self.stats.connections % SWEEPS_PER_SECOND].add(connection)
        # One that took the last descriptor may have taken what the admin port keeps for its probes.
        self._took_last = not descriptors.is_one_free()
        if len(self) <= self._max_connections and not self._took_last:
            return True
        self.stats.connections_refused += 1
        return False

    @property
    def is_crowded(self) -> bool:
        """Whether there is no room to answer the connection that was refused last."""
        return self._took_last or len(self) > self._max_connections + MAX_REFUSED

    def remove(self, connection: Swept) -> None:
        """Forget `connection`."""
        for part in self._slices:
            part.discard(connection)

    def __len__(self) -> int:
        return sum(map(len, self._slices))

    def sweep(self) -> None:
        """End the connections of the next slice that are past their deadline."""
        self._next_slice = (self._next_slice + 1) % SWEEPS_PER_SECOND
        if self._next_slice == 0:
            self.heads.refresh()
        now = self.now = time.monotonic()
        for connection in [one for one in self._slices[self._next_slice] if one.deadline <= now]:
            connection.time_out()

    def end_idle(self) -> None:
        """End every connection that owes no answer."""
        for part in self._slices:
            for connection in [one for one in part if one.is_idle]:
                connection.time_out()

    def note_view_age(self, seconds: float) -> None:
        """Serve polls, or refuse them, by the age of the view of NATS."""
        self.refusal = _NO_VIEW if seconds > STALE_SECONDS else None

    def cors_lines(self, origin: bytes) -> bytes:
        """Return the header lines that let a page of `origin` read an answer; none when it may not."""
        name = origin.decode("latin-1")
        return rendering.cors_lines(name) if name in self.origins else b""
