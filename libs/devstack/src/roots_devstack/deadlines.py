"""Deadlines by a clock of their own, which tests slow down on a busy machine. In `make run` it is as every clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

# Taken by name: tests replace time.monotonic where the services read it.
from time import monotonic

_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _Pace:
    """What the clock showed at a moment, and how many seconds each of its seconds takes since then."""

    at: float
    shown: float
    factor: float

    def read(self, at: float) -> float:
        return self.shown + (at - self.at) / self.factor


_pace = _Pace(at=0.0, shown=0.0, factor=1.0)


def clock() -> float:
    """Return the seconds of the clock; only differences mean something."""
    return _pace.read(monotonic())


def slow_down(factor: float) -> None:
    """Let each second of the clock take `factor` seconds from now on."""
    global _pace  # noqa: PLW0603  # one machine, one clock
    now = monotonic()
    _pace = _Pace(at=now, shown=_pace.read(now), factor=factor)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Cancel the block once `seconds` of the clock have passed. Errors: TimeoutError."""
    loop = asyncio.get_running_loop()
    ends_at = clock() + seconds
    looking: asyncio.TimerHandle
    async with asyncio.timeout(None) as timeout:

        def look() -> None:
            nonlocal looking
            left = ends_at - clock()
            if left > 0:
                looking = loop.call_later(max(left, _LOOK_SECONDS), look)
            else:
                timeout.reschedule(loop.time())

        looking = loop.call_later(seconds, look)
        try:
            yield
        finally:
            looking.cancel()
