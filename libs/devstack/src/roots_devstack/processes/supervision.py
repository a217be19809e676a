"""One supervised process: started, started again when it dies, stopped in time."""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from roots_devstack.deadlines import within
from roots_devstack.errors import DevstackError
from roots_devstack.processes.child import Child, Program

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 3.0
# A process that lived for so long was healthy: the next death is a new story.
STEADY_SECONDS = 10.0
STOP_SECONDS = 5.0
TAIL_LINES = 20

Sink = Callable[[str, str], None]
"""Takes the name of a process and one line that it wrote."""


def discard(_name: str, _line: str) -> None:
    """Drop a line; the last few stay readable as `Process.tail`."""


def _ignore() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The listeners of a process: `sink` gets each line that it writes, `on_change` when its process id changes."""

    sink: Sink = discard
    on_change: Callable[[], None] = _ignore


UNWATCHED = Watch()


class Process:
    """Keeps one program running. All methods belong to one event loop.

    Shape: last_status is that of its latest death, None before one.
    """

    def __init__(self, program: Program, watch: Watch = UNWATCHED) -> None:
        self.program = program
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.last_status: int | None = None
        self._watch = watch
        self._child: Child | None = None
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

    def abort(self) -> None:
        """Kill the program at once, and don't start it again."""
        self._is_halted = True
        self.kill()

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
        self._set_child(None)

    async def _keep(self, child: Child) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            born = time.monotonic()
            status = self.last_status = await child.wait()
            if self._is_halted:
                return
            self._set_child(None)
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

    async def _spawn(self) -> Child:
        async with self._spawning:
            if self._is_halted:
                raise asyncio.CancelledError
            child = await Child.spawn(self.program, self._take_line)
            self._set_child(child)
        return child

    def _set_child(self, child: Child | None) -> None:
        self._child = child
        self._watch.on_change()

    def _take_line(self, line: str) -> None:
        self.tail.append(line)
        self._watch.sink(self.program.name, line)

    def _say(self, message: str) -> None:
        self._watch.sink("devstack", f"{self.program.name}: {message}")


async def run_once(program: Program, *, seconds: float, sink: Sink = discard) -> None:
    """Run a program to its end.

    Errors: DevstackError, with its last lines, when it fails or takes longer than `seconds`.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def take(line: str) -> None:
        tail.append(line)
        sink(program.name, line)

    child = await Child.spawn(program, take)
    try:
        async with within(seconds):
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


def _describe(status: int) -> str:
    if status < 0:
        return f"died of {signal.Signals(-status).name}"
    return f"ended with status {status}"
