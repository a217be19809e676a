"""A store that is frozen takes connections and answers nothing: who needs it is unready within seconds, and says so."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import until
from tests.testkit.faults import family, send_all

from roots_devstack.processes import probes
from roots_devstack.stack import Stack

UNREADY_SECONDS = 12.0


@contextmanager
def frozen(stack: Stack, name: str) -> Iterator[None]:
    """Let a process and its children stand still meanwhile."""
    pid = stack.processes[name].pid
    assert pid is not None
    pids = family(pid)
    send_all(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send_all(pids, signal.SIGCONT)


@pytest.mark.parametrize(
    ("store", "name"),
    [
        ("nats", "relay"),
        ("nats", "subscriptions"),
        ("nats", "longpoll-1"),
        ("postgres", "relay"),
        ("postgres", "tasks"),
    ],
)
async def test_process_is_unready_within_seconds_when_its_store_is_frozen(
    stack: Stack, background: LoopThread, store: str, name: str
) -> None:
    """I9: no check stays as good as it was because it hangs; the process is ready again once the store answers."""
    admin_url = stack.processes[name].admin_url
    assert admin_url is not None

    async def is_unready() -> bool:
        return await probes.unready_reason(admin_url) is not None

    with frozen(stack, store):
        await until(is_unready, UNREADY_SECONDS)
    await asyncio.to_thread(background.run, stack.wait_ready())
