"""Deadlines pass later on a busy machine, and on time on another."""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator

import pytest
from tests.testkit import deadlines
from tests.testkit.deadlines import clock, stretched, until, wait_until, within

from roots_devstack.deadlines import slow_down

FACTOR = 4.0


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let everything take FACTOR times longer."""
    monkeypatch.setattr(deadlines, "_measure", lambda: FACTOR)
    monkeypatch.setattr(deadlines, "_measured", deque([FACTOR]))
    slow_down(FACTOR)
    yield
    slow_down(1.0)


@pytest.fixture
def crowded() -> Iterator[None]:
    """Let this thread share one processor with a program that never waits."""
    allowed = os.sched_getaffinity(0)
    one = min(allowed)
    os.sched_setaffinity(0, {one})
    # It ends by itself when nobody ends it.
    loop = f"import os, time; os.sched_setaffinity(0, {{{one}}}); end = time.monotonic() + 60\n"
    with subprocess.Popen(
        [sys.executable, "-c", f"{loop}print(flush=True)\nwhile time.monotonic() < end: pass"], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield
        other.kill()
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("crowded")
def test_factor_is_measured_when_another_program_takes_the_processor() -> None:
    """Half of the processor is left: each second of work takes about two."""
    assert statistics.mean(deadlines._measure() for _ in range(20)) > 1.5


@pytest.mark.usefixtures("busy")
def test_clock_advances_by_less_when_the_machine_is_busy() -> None:
    """A quarter of a second passes on the clock while work of a quarter of a second gets done."""
    began, shown = time.monotonic(), clock()
    time.sleep(0.2)
    assert (clock() - shown) * FACTOR == pytest.approx(time.monotonic() - began, rel=0.05)
    assert FACTOR == stretched(1)


@pytest.mark.usefixtures("busy")
async def test_block_goes_on_when_its_time_has_passed_on_a_busy_machine() -> None:
    """It is cancelled once its time has passed on the clock of the machine, and not before."""
    async with within(0.1):
        await asyncio.sleep(0.2)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with within(0.1):
            await asyncio.Event().wait()
    assert time.monotonic() - began >= 0.1 * FACTOR


async def test_wait_ends_when_its_condition_holds() -> None:
    """Whether it is a function or a coroutine function; one that never holds ends the wait with an error."""
    left = iter(range(3))
    await until(lambda: next(left) == 2)

    async def is_so() -> bool:
        return True

    await until(is_so)
    wait_until(lambda: True)
    with pytest.raises(TimeoutError):
        await until(lambda: False, 0.05)
    with pytest.raises(TimeoutError, match=r"does not hold after 0\.05 s"):
        wait_until(lambda: False, 0.05)
