"""One supervised process."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.testkit import faults
from tests.testkit.deadlines import clock, within

from roots_devstack.errors import DevstackError
from roots_devstack.processes.child import Program
from roots_devstack.processes.supervision import Process, Watch, run_once
from roots_devstack.processes.waiting import until_ready

DEADLINE_SECONDS = 10.0
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


def python(code: str, name: str = "sample") -> Program:
    """Return a program that runs `code`."""
    return Program(name=name, command=(sys.executable, "-c", code))


async def test_process_is_started_again_when_it_is_killed() -> None:
    """A death by `kill -9` is followed by another process within half a second."""

    async def seconds_until_replaced() -> float:
        process = Process(python("import time; time.sleep(60)"))
        await process.start()
        try:
            pid = process.pid
            assert pid is not None
            started = clock()
            process.kill()
            async with within(DEADLINE_SECONDS):
                await faults.wait_replaced(process, pid)
            return clock() - started
        finally:
            await process.stop()

    # The start of any program may take longer once.
    took = [await seconds_until_replaced() for _ in range(3)]
    assert min(took) < 0.5


async def test_process_starts_less_and_less_often_when_it_dies_at_once() -> None:
    """The pause before a restart doubles, so that a broken program does not eat the machine."""
    said: asyncio.Queue[str] = asyncio.Queue()
    process = Process(python("raise SystemExit(3)"), Watch(sink=lambda _name, line: said.put_nowait(line)))
    await process.start()
    try:
        async with within(DEADLINE_SECONDS):
            lines = [await said.get() for _ in range(3)]
    finally:
        await process.stop()

    assert [f"sample: ended with status 3; starting it again in {pause} s" for pause in ("0.1", "0.2", "0.4")] == lines


async def test_process_is_killed_when_it_does_not_heed_its_stop_signal() -> None:
    """A program that ignores SIGTERM is gone after the time that it was given."""
    said: asyncio.Queue[str] = asyncio.Queue()
    process = Process(python(STUBBORN), Watch(sink=lambda _name, line: said.put_nowait(line)))
    await process.start()
    async with within(DEADLINE_SECONDS):
        await said.get()

    started, counted = time.monotonic(), clock()
    await process.stop(0.2)

    assert process.pid is None
    assert time.monotonic() - started >= 0.2
    assert clock() - counted < 2.0


async def test_process_stays_dead_when_it_was_crashed() -> None:
    """Fault tests decide themselves when a store comes back."""
    process = Process(python("import time; time.sleep(60)"))
    await process.start()

    await process.crash()

    assert process.pid is None


async def test_start_tells_why_when_the_program_is_missing() -> None:
    """A missing program is one sentence, not a traceback."""
    process = Process(Program(name="ghost", command=("/nonexistent/ghost",)))

    with pytest.raises(DevstackError, match=r"ghost can't be started: .*No such file"):
        await process.start()


@dataclass
class NeverReady:
    """A part whose process can't be asked."""

    process: Process
    name: str = "sample"
    url: str | None = None
    admin_url: str | None = None

    async def unready_reason(self) -> str:
        """Return that it does not answer."""
        return "it does not answer"


async def test_waiting_ends_when_the_process_can_not_run_as_it_is_configured() -> None:
    """Who starts the system reads the sentence once, instead of each restart's for a minute."""
    process = Process(python("import sys; print('HOLD is wrong'); sys.exit(2)"))
    await process.start()
    try:
        with pytest.raises(DevstackError, match=r"sample can't run as it is configured(.|\n)*HOLD is wrong"):
            await until_ready(NeverReady(process), seconds=DEADLINE_SECONDS)
    finally:
        await process.stop()


async def test_run_once_shows_the_last_lines_when_the_program_fails() -> None:
    """The failure of a migration shows what it wrote."""
    with pytest.raises(DevstackError) as failure:
        await run_once(python("print('no such table'); raise SystemExit(1)", "migrate"), seconds=DEADLINE_SECONDS)

    assert "migrate ended with status 1; the last it wrote:\n    no such table" == str(failure.value)


async def test_run_once_ends_when_its_time_is_over() -> None:
    """A one-shot that hangs is killed and named."""
    with pytest.raises(DevstackError, match="migrate was not done after 0 s"):
        await run_once(python("import time; time.sleep(60)", "migrate"), seconds=0.2)


async def test_long_line_is_dropped_when_it_exceeds_the_limit() -> None:
    """A program that writes without line ends can't fill the supervisor's memory (I7)."""
    lines: list[str] = []
    code = "import sys; sys.stdout.write('x' * (3 << 20)); print(); print('end')"

    await run_once(python(code), seconds=DEADLINE_SECONDS, sink=lambda _name, line: lines.append(line))

    assert "end" == lines[-1]
    assert all(len(line) < 1 << 20 for line in lines)


def test_process_dies_when_its_supervisor_is_killed(wait_until_gone: Callable[[set[int]], set[int]]) -> None:
    """After `kill -9` of the supervisor the kernel ends what it had started."""
    code = (
        "import asyncio, sys\n"
        "from roots_devstack.processes.child import Program\n"
        "from roots_devstack.processes.supervision import Process\n"
        "async def main():\n"
        "    process = Process(Program(name='sleep', command=('sleep', '60')))\n"
        "    await process.start()\n"
        "    print(process.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())

        os.kill(supervisor.pid, signal.SIGKILL)

    assert set() == wait_until_gone({pid})
