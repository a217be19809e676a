"""The same client for asynchronous programs: the same names, awaited.

    from cornelius.aio import dudley

    await dudley.update("tasks", message)

Each call runs the synchronous client on a thread of a small pool. So there is one client with one set of retries and
tests, no further dependency, and no event loop that the connections belong to: a program may have several loops.
Promises: a call ends within its time, the wait for a thread included. A call that is cancelled is not undone: its
thread may still publish.
"""

import asyncio
import contextvars
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from cornelius import dudley as synchronous_dudley
from cornelius.backend_api import ALWAYS_REVOKED, ASKED_AT, MAX_DECISIONS, Dudley
from cornelius.errors import RevisionError, UnavailableError
from cornelius.messages import Publishable, Published
from cornelius.transport import MAX_CONNECTIONS

T = TypeVar("T")
P = ParamSpec("P")


def _twin(
    method: Callable[Concatenate[Dudley, P], T],
) -> Callable[Concatenate["AsyncDudley", P], Coroutine[Any, Any, T]]:
    """Return `method` for asynchronous programs: the same arguments, the same documentation, awaited."""

    @wraps(method)
    async def call(self: "AsyncDudley", /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self._call(partial(getattr(self._dudley, method.__name__), *arguments, **named))

    return call


class AsyncDudley:
    """A Dudley for asynchronous programs. It has the Dudley's settings: configure that."""

    update = _twin(Dudley.update)
    connect = _twin(Dudley.connect)
    revision = _twin(Dudley.revision)
    disconnect = _twin(Dudley.disconnect)
    explain = _twin(Dudley.explain)
    forget = _twin(Dudley.forget)
    revoke = _twin(Dudley.revoke)

    def __init__(self, dudley: Dudley) -> None:
        self._dudley = dudley
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    async def updates(self, messages: Iterable[Publishable]) -> list[Published]:
        """As `Dudley.updates`."""
        return await self._call(partial(self._dudley.updates, list(messages)))

    async def connect_decided(
        self,
        uid: str,
        decide: Callable[[], Awaitable[Iterable[str]]],
        subject: str | None = None,
        until: datetime | float | None = None,
        info: Any = None,
    ) -> list[str]:
        """As `Dudley.connect_decided`, with an asynchronous `decide`."""
        for _ in range(MAX_DECISIONS):
            revision = await self.revision(subject)
            paths = list(await decide())
            with suppress(RevisionError):
                await self.connect(uid, paths, subject, until, info, revision)
                return paths
        raise UnavailableError(ALWAYS_REVOKED)

    async def explain_all(self, uids: Iterable[str], *, path: str | None = None) -> dict[str, dict[str, Any] | None]:
        """As `Dudley.explain_all`."""
        return await self._call(partial(self._dudley.explain_all, list(uids), path=path))

    async def _call(self, function: Callable[[], T]) -> T:
        context = contextvars.copy_context()
        context.run(ASKED_AT.set, time.monotonic())
        return await asyncio.get_running_loop().run_in_executor(self._own_threads(), context.run, function)

    def _own_threads(self) -> ThreadPoolExecutor:
        """Return the threads of this process: those of its parent are not in it.

        They are not the loop's default threads: calls to a back-end API that hangs must not occupy those.
        """
        if self._threads is None or self._threads[0] != os.getpid():
            threads = ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="dudley")
            self._threads = (os.getpid(), threads)
        return self._threads[1]


dudley = AsyncDudley(synchronous_dudley)
"""The twin of `cornelius.dudley`, with its settings."""
