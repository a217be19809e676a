"""One supervised process: started, started again when it dies, stopped in time.

Owns the child's process id and its output. The child runs in a session of its own, so that a terminal's Ctrl-C reaches
only this process, and the kernel ends it when this process is gone, even by `kill -9`.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roots_devstack.accounts import OURSELVES, Account
from roots_devstack.errors import DevstackError

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 3.0
# A process that lived for so long was healthy: the next death is a new story.
STEADY_SECONDS = 10.0
STOP_SECONDS = 5.0
TAIL_LINES = 20
_MAX_LINE_BYTES = 1 << 20
# After its end a process's output is read to the end, unless a child of it still holds the pipe.
_LAST_OUTPUT_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

Sink = Callable[[str, str], None]
"""Takes the name of a process and one line that it wrote."""


def discard(_name: str, _line: str) -> None:
    """Drop a line; the last few stay readable as `Process.tail`."""


def nothing_changed() -> None:
    """Ignore that a process id changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. `stop_signal` asks it to end in order; `orphan_signal` reaches it when its supervisor is gone."""

    name: str
    command: tuple[str | Path, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account = OURSELVES
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL


class Process:
    """Keeps one program running. All methods belong to one event loop."""

    def __init__(
        self, program: Program, *, sink: Sink = discard, on_change: Callable[[], None] = nothing_changed
    ) -> None:
        self.program = program
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._sink = sink
        self._on_change = on_change
        self._child: _Child | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._spawning = asyncio.Lock()
        self._is_halted = False

    @property
    def pid(self) -> int | None:
        """The id of the process that runs now."""
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        """Start the program and keep it running; nothing happens when it is kept running already.

        Errors: DevstackError when the program can't be executed.
        """
        if self._keeper is not None:
            return
        self._is_halted = False
        child = await self._spawn()
        self._keeper = asyncio.create_task(self._keep(child), name=f"keep {self.program.name}")

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ask the program to end, kill it when it has not ended after `seconds`, and leave it stopped."""
        await self._halt(self.program.stop_signal, seconds)

    async def crash(self) -> None:
        """Kill the program as `kill -9` does, and leave it dead until `start`."""
        await self._halt(signal.SIGKILL, STOP_SECONDS)

    async def restart(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the program in order, and start it again."""
        await self.stop(seconds)
        await self.start()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the program; when it dies of it, it is started again."""
        if self._child is not None:
            self._child.send(number)

    async def _halt(self, number: signal.Signals, seconds: float) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        self._is_halted = True
        # A start that is under way ends first, so that no child is left behind.
        async with self._spawning:
            child = self._child
        if child is not None:
            await child.end(number, seconds)
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        self._child = None
        self._on_change()

    async def _keep(self, child: "_Child") -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            born = time.monotonic()
            status = await child.wait()
            if self._is_halted:
                return
            self._child = None
            self._on_change()
            if time.monotonic() - born > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            while True:
                self._say(f"{_describe(status)}; starting it again in {pause:.1f} s")
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
                try:
                    child = await self._spawn()
                except DevstackError as error:
                    self._say(str(error))
                else:
                    break

    async def _spawn(self) -> "_Child":
        async with self._spawning:
            if self._is_halted:
                raise asyncio.CancelledError
            self._child = await _Child.spawn(self.program, self._take_line)
        self._on_change()
        return self._child

    def _take_line(self, line: str) -> None:
        self.tail.append(line)
        self._sink(self.program.name, line)

    def _say(self, message: str) -> None:
        self._sink("devstack", f"{self.program.name}: {message}")


async def run_once(program: Program, *, seconds: float, sink: Sink = discard) -> None:
    """Run a program to its end.

    Errors: DevstackError, with its last lines, when it fails or takes longer than `seconds`.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def take(line: str) -> None:
        tail.append(line)
        sink(program.name, line)

    child = await _Child.spawn(program, take)
    try:
        async with asyncio.timeout(seconds):
            status = await child.wait()
    except TimeoutError as error:
        raise DevstackError(with_tail(f"{program.name} was not done after {seconds:.0f} s", tail)) from error
    finally:
        await child.end(signal.SIGKILL, STOP_SECONDS)
    if status != 0:
        raise DevstackError(with_tail(f"{program.name} {_describe(status)}", tail))


def with_tail(sentence: str, tail: deque[str]) -> str:
    """Return `sentence` with the last lines that the process wrote below it."""
    if not tail:
        return f"{sentence}; it wrote nothing"
    return "\n".join([f"{sentence}; the last it wrote:", *(f"    {line}" for line in tail)])


class _Child:
    """One run of a program: its process id, its end, and the task that reads its output."""

    def __init__(self, process: asyncio.subprocess.Process, reading: asyncio.Task[None]) -> None:
        self._process = process
        self._reading = reading

    @classmethod
    async def spawn(cls, program: Program, take_line: Callable[[str], None]) -> "_Child":
        # Our own pipe: asyncio's would make `wait` wait for grandchildren that hold it, as Postgres's backends do.
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *program.account.wrap(program.command, program.orphan_signal),
                env=dict(program.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
                user=program.account.uid,
                group=program.account.gid,
                extra_groups=None if program.account.uid is None else [],
                # Two system calls between fork and exec, and no lock; there is no argument of subprocess for them.
                preexec_fn=_die_with_parent(program.orphan_signal),
            )
        except (OSError, ValueError) as error:
            os.close(read_end)
            raise DevstackError(f"{program.name} can't be started: {error}") from error
        finally:
            os.close(write_end)
        reading = asyncio.create_task(_read_lines(read_end, take_line), name=f"read {program.name}")
        return cls(process, reading)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Return the exit status, once the process has ended and its output is read."""
        status = await self._process.wait()
        await asyncio.wait([self._reading], timeout=_LAST_OUTPUT_SECONDS)
        self._reading.cancel()
        return status

    async def end(self, number: signal.Signals, seconds: float) -> None:
        """Send a signal, kill after `seconds`, return once the process is gone."""
        self.send(number)
        try:
            async with asyncio.timeout(seconds):
                await self.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.wait()


async def _read_lines(descriptor: int, take_line: Callable[[str], None]) -> None:
    reader = asyncio.StreamReader(limit=_MAX_LINE_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                take_line(f"(a line over {_MAX_LINE_BYTES} bytes was dropped)")
                continue
            if not line:
                return
            take_line(line.decode(errors="replace").rstrip())
    finally:
        transport.close()


def _die_with_parent(number: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def ask_kernel() -> None:
        # Runs after the change of account, which would clear it.
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel


def _describe(status: int) -> str:
    if status < 0:
        return f"died of {signal.Signals(-status).name}"
    return f"ended with status {status}"
