"""Where a relay publishes: the interface of its sinks. May import: roots."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from roots.contracts.events import Event, Published
from roots.http.health import Check


class Sink(Protocol):
    """Takes batches of events; each event has an id, by which the sink drops what it was given before."""

    @property
    def changed(self) -> asyncio.Event:
        """Is set when another try may succeed although the last one failed; the relay clears it."""

    @property
    def checks(self) -> Mapping[str, Callable[[], Check]]:
        """The checks that make a relay unready, by their names."""

    async def run(self) -> None:
        """Keep the sink connected until cancelled."""

    async def publish(self, events: Sequence[Event]) -> list[Published]:
        """Publish `events`, no two of which have the same ordering key, and return what became of each.

        Errors: none; what fails has an outcome that says so. One call at a time.
        """
