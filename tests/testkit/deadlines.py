"""Deadlines that allow for a busy machine: the only clock that tests measure how long they wait with.

`follow_machine` starts a thread that measures, twice a second, how long work waits for a processor. While each second
of work takes three seconds, because other programs run too, the clock advances by a third of a second each second.
The devstack's own deadlines are on this clock, too.
"""

import asyncio
import hashlib
import inspect
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

# Taken by name: tests replace them where the services read them.
from time import sleep, thread_time

from roots_devstack.deadlines import clock, slow_down, within

__all__ = ["DEADLINE_SECONDS", "clock", "follow_machine", "stretched", "until", "wait_until", "within"]

DEADLINE_SECONDS = 20.0
_INTERVAL_SECONDS = 0.02

_MEASURE_EVERY_SECONDS = 0.5
# Less than one turn on a busy processor, which is 3 ms, would find no wait.
_WORK_SECONDS = 0.006
_BLOCK = bytes(1 << 20)
# How long this thread has waited for a processor in all: the second number, in nanoseconds (proc_pid_schedstat(5)).
_SCHEDSTAT = Path("/proc/thread-self/schedstat")

# Several are averaged: one alone depends on when the turns of others end.
_measured: deque[float] = deque([1.0], maxlen=8)


def stretched(duration: float) -> float:
    """Return how long what takes `duration` on a machine of its own may take now; of any unit."""
    return duration * _factor()


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
    while True:
        _measured.append(_measure())
        slow_down(_factor())
        sleep(_MEASURE_EVERY_SECONDS)


def _factor() -> float:
    # A copy, which another thread does not change meanwhile.
    measured = list(_measured)
    return sum(measured) / len(measured)


def _measure() -> float:
    """Work for a moment, and return how many times longer it took than on a processor of its own."""
    began, queued = thread_time(), _queued_seconds()
    while (worked := thread_time() - began) < _WORK_SECONDS:
        # Without the interpreter's lock: waiting for that is no wait for a processor, and is not measured.
        hashlib.sha256(_BLOCK)
    return 1 + (_queued_seconds() - queued) / worked


def _queued_seconds() -> float:
    return int(_SCHEDSTAT.read_text(encoding="ascii").split()[1]) / 1e9
