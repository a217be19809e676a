"""An event loop on a thread of its own, for tests that are not asynchronous themselves.

with LoopThread() as background, background.entered(Postgres(home)) as postgres:
    psycopg.connect(postgres.url)
    background.run(postgres.process.crash())
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Self, TypeVar

from tests.testkit.deadlines import within

DEADLINE_SECONDS = 120.0

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for threads that have no event loop. What it starts dies with its thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="devstack", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float = DEADLINE_SECONDS) -> T:
        """Run `coroutine` on the loop and return its result.

        Errors: the coroutine's own; TimeoutError after `seconds`, when it has been cancelled.
        """
        return self.submit(coroutine, seconds).result()

    def submit(self, coroutine: Coroutine[Any, Any, T], seconds: float = DEADLINE_SECONDS) -> Future[T]:
        """Run `coroutine` on the loop meanwhile; the future has its result or its error."""

        async def with_deadline() -> T:
            async with within(seconds):
                return await coroutine

        return asyncio.run_coroutine_threadsafe(with_deadline(), self._loop)

    @contextmanager
    def entered(self, resource: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """Enter an asynchronous context manager, and leave it at the end."""
        value = self.run(resource.__aenter__())
        try:
            yield value
        finally:
            self.run(resource.__aexit__(None, None, None))
