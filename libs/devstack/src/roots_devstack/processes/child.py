"""One run of a program: its account, its end, and the lines that it writes.

The child runs in a session of its own, so that a terminal's Ctrl-C reaches only this process, and the kernel ends it
when the thread that started it is gone, even by `kill -9`.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roots_devstack.deadlines import within
from roots_devstack.errors import DevstackError
from roots_devstack.servers.accounts import OURSELVES, Account

_MAX_LINE_BYTES = 1 << 20
# After its end a process's output is read to the end, unless a child of it still holds the pipe.
_LAST_OUTPUT_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. `stop_signal` asks it to end in order; `orphan_signal` reaches it when its supervisor is gone."""

    name: str
    command: tuple[str | Path, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account = OURSELVES
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL


class Child:
    """One run of a program: its process id, its end, and the task that reads its output."""

    def __init__(self, process: asyncio.subprocess.Process, reading: asyncio.Task[None]) -> None:
        self._process = process
        self._reading = reading

    @classmethod
    async def spawn(cls, program: Program, take_line: Callable[[str], None]) -> "Child":
        """Start `program`; every line of its output goes to `take_line`. Errors: DevstackError."""
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
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            os.close(read_end)
            raise DevstackError(f"{program.name} can't be started: {error}") from error
        finally:
            os.close(write_end)
        reading = asyncio.create_task(_read_lines(read_end, take_line), name=f"read {program.name}")
        return cls(process, reading)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is still there."""
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
            async with within(seconds):
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
