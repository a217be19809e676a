"""The running stack, as faults see it: each call runs on the stack's own event loop and is bounded in time.

The stack has a thread of its own, so that a busy or frozen part of it never holds up the clients' clock.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tests.testkit.background import LoopThread
from tests.testkit.faults import family, leader_of, send_all, wait_replaced

from roots_devstack.processes.waiting import Part, until_ready
from roots_devstack.stack import Stack

READY_SECONDS = 60.0
LEADER = "leader"

T = TypeVar("T")


class Processes:
    """What may happen to a process of the stack, or to one of the parts `beside` it."""

    def __init__(self, background: LoopThread, stack: Stack, beside: Sequence[Part] = ()) -> None:
        self._background = background
        self._stack = stack
        self._beside = {part.name: part for part in beside}

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of the parts beside the stack that begin with `kind`."""
        return tuple(name for name in self._beside if name.startswith(kind))

    async def kill(self, name: str) -> None:
        """End a process by SIGKILL; return once another one runs in its place."""
        await self._run(self._end(name, signal.SIGKILL))

    async def terminate(self, name: str) -> None:
        """Ask a process to end; return once another one runs in its place."""
        await self._run(self._end(name, self._part(name).process.program.stop_signal))

    async def restart(self, name: str, down_seconds: float) -> None:
        """Stop a process in order, leave it away for a time, and start it again."""
        async with self.stopped(name):
            await asyncio.sleep(down_seconds)

    @asynccontextmanager
    async def stopped(self, name: str) -> AsyncIterator[None]:
        """Stop a process in order for the time of the block."""
        await self.stop(name)
        try:
            yield
        finally:
            await self._run(self._part(name).process.start())

    async def stop(self, name: str) -> None:
        """Stop a process in order."""
        await self._run(self._part(name).process.stop())

    async def freeze(self, name: str, seconds: float) -> None:
        """Stop a process and its children where they are, and let them go on after `seconds`."""
        pid = self._part(name).process.pid
        pids = [] if pid is None else family(pid)
        try:
            send_all(pids, signal.SIGSTOP)
            await asyncio.sleep(seconds)
        finally:
            send_all(pids, signal.SIGCONT)

    async def resolve(self, name: str) -> str:
        """Return the name of a process; for LEADER, of the server that leads the stream. Errors: TimeoutError."""
        return await self._run(leader_of(self._stack)) if name == LEADER else name

    @property
    def broker_names(self) -> tuple[str, ...]:
        """The names of the NATS servers."""
        return tuple(name for name in self._stack.processes if name.startswith("nats"))

    @property
    def broker_url(self) -> str:
        """Where all NATS servers listen."""
        return ",".join(self.url(name) for name in self.broker_names)

    async def wait_ready(self, name: str) -> None:
        """Return once a process is ready. Errors: DevstackError."""
        await self._run(until_ready(self._part(name), seconds=READY_SECONDS))

    async def wait_all_ready(self) -> None:
        """Return once every process is ready. Errors: DevstackError."""
        await self._run(self._stack.wait_ready())
        await asyncio.gather(*(self.wait_ready(name) for name in self._beside))

    def url(self, name: str) -> str:
        """Return where a process serves."""
        url = self._stack.processes[name].url
        assert url is not None
        return url

    def admin_url(self, name: str) -> str:
        """Return where a process tells about its health."""
        url = self._stack.processes[name].admin_url
        assert url is not None
        return url

    def _part(self, name: str) -> Part:
        return self._beside.get(name) or self._stack.part(name)

    async def _end(self, name: str, number: signal.Signals) -> None:
        process = self._part(name).process
        pid = process.pid
        process.kill(number)
        if pid is not None:
            await wait_replaced(process, pid)

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._background.submit(work))
