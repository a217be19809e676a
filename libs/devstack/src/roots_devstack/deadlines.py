"""Deadlines that allow for a busy machine: the only clock that tests measure how long they wait with.

`follow_machine` starts a thread that measures, twice a second, how long work waits for a processor. While each second
of work takes three seconds, because other programs run too, the clock advances by a third of a second each second.
Without `follow_machine`, as in `make run`, it advances as every clock does.
"""

import asyncio
import hashlib
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

# Taken by name: tests replace time.monotonic where the services read it.
from time import monotonic, sleep, thread_time

DEADLINE_SECONDS = 20.0
_INTERVAL_SECONDS = 0.02

_MEASURE_EVERY_SECONDS = 0.5
# Less than one turn on a busy processor, which is 3 ms, would find no wait.
_WORK_SECONDS = 0.006
_BLOCK = bytes(1 << 20)
# How long this thread has waited for a processor in all: the second number, in nanoseconds (proc_pid_schedstat(5)).
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


@dataclass(frozen=True, slots=True)
class _Pace:
    """What the clock showed at a moment, and how many seconds each of its seconds takes since then."""

    at: float
    shown: float
    factor: float

    def read(self, at: float) -> float:
        return self.shown + (at - self.at) / self.factor


_pace = _Pace(at=0.0, shown=0.0, factor=1.0)
# Several are averaged: one alone depends on when the turns of others end.
_measured: deque[float] = deque(maxlen=8)


def clock() -> float:
    """Return the seconds of the clock; only differences mean something."""
    return _pace.read(monotonic())


def stretched(duration: float) -> float:
    """Return how long what takes `duration` on a machine of its own may take now; of any unit."""
    return duration * _pace.factor


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
                looking = loop.call_later(max(left, _INTERVAL_SECONDS), look)
            else:
                timeout.reschedule(loop.time())

        looking = loop.call_later(seconds, look)
        try:
            yield
        finally:
            looking.cancel()


async def until(condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    """Return once `condition`, a function or a coroutine function, returns something true. Errors: TimeoutError."""
    async with within(seconds):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(_INTERVAL_SECONDS)


def wait_until(condition: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    """Return once `condition` returns something true. Errors: TimeoutError."""
    ends_at = clock() + seconds
    while not condition():
        if clock() > ends_at:
            raise TimeoutError(f"the condition does not hold after {seconds} s")
        sleep(_INTERVAL_SECONDS)


def follow_machine() -> None:
    """Make the clock follow the machine until the process ends; nothing changes where the kernel does not measure."""
    if _SCHEDSTAT.exists():
        threading.Thread(target=_follow, name="deadlines", daemon=True).start()


def _follow() -> None:
    global _pace  # noqa: PLW0603  # one machine, one clock
    while True:
        _measured.append(_measure())
        now = monotonic()
        _pace = _Pace(at=now, shown=_pace.read(now), factor=sum(_measured) / len(_measured))
        sleep(_MEASURE_EVERY_SECONDS)


def _measure() -> float:
    """Work for a moment, and return how many times longer it took than on a processor of its own."""
    began, queued = thread_time(), _queued_seconds()
    while (worked := thread_time() - began) < _WORK_SECONDS:
        # Without the interpreter's lock: waiting for that is no wait for a processor, and is not measured.
        hashlib.sha256(_BLOCK)
    return 1 + (_queued_seconds() - queued) / worked


def _queued_seconds() -> float:
    return int(_SCHEDSTAT.read_text(encoding="ascii").split()[1]) / 1e9
