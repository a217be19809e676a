"""One client used by many threads, and by processes that were forked from one that had used it."""

import asyncio
import itertools
import os
import threading
from collections.abc import Callable
from functools import partial

import pytest
from tests.testkit.deadlines import within

from cornelius import Dudley
from cornelius.aio import AsyncDudley
from cornelius.transport import MAX_CONNECTIONS

from .support import Log, ScriptedServer

# Newer Pythons warn of every fork beside threads, which is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

THREADS = 2 * MAX_CONNECTIONS
UPDATES = 5
CHILDREN = 4


def publish(dudley: Dudley, name: str) -> None:
    """Publish some updates one after the other."""
    for number in range(UPDATES):
        dudley.update("tasks", f"{name}.{number}")


def test_updates_are_published_once_each_when_more_threads_than_connections_publish() -> None:
    """I7: a thread waits for a connection; there are never more of them than the bound, and none is opened in vain."""
    log = Log()
    with ScriptedServer(itertools.repeat(log.publish)) as server:
        dudley = Dudley(url=server.url, timeout_seconds=60)
        threads = [threading.Thread(target=publish, args=(dudley, str(number))) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.connections) <= MAX_CONNECTIONS
        dudley.close()
    assert {f"{name}.{number}" for name in range(THREADS) for number in range(UPDATES)} == set(log.messages)
    assert THREADS * UPDATES == len(log.messages)


def in_child(work: Callable[[], object]) -> int:
    """Fork, do `work` in the child and nothing else of the parent's, and return the child's pid."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def status_of(pid: int) -> int:
    """Wait for a child's end."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_child_uses_connections_of_its_own_when_it_is_forked() -> None:
    """A request of one process is never written between another's: each has its own connection, ids differ."""
    log = Log()
    with ScriptedServer(itertools.repeat(log.publish)) as server:
        dudley = Dudley(url=server.url)
        dudley.update("tasks", "parent before")
        children = [in_child(partial(publish, dudley, f"child {number}")) for number in range(CHILDREN)]
        publish(dudley, "parent")
        assert [0] * CHILDREN == [status_of(pid) for pid in children]
        assert CHILDREN + 1 == len(server.connections)
        dudley.close()
    assert 1 + (CHILDREN + 1) * UPDATES == len(log.messages)


def test_child_uses_threads_of_its_own_when_the_twin_was_used_before_it_was_forked() -> None:
    """Its parent's threads are not in it, and would never take its call."""
    log = Log()
    with ScriptedServer([log.publish] * 2) as server:
        twin = AsyncDudley(Dudley(url=server.url, timeout_seconds=10))
        asyncio.run(twin.update("tasks", "parent"))

        async def update() -> None:
            async with within(10):
                await twin.update("tasks", "child")

        assert 0 == status_of(in_child(lambda: asyncio.run(update())))
    assert ["parent", "child"] == log.messages
