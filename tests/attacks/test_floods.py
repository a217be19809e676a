"""Honest users notice nothing of a flood, which one host keeps up against the services themselves or the gateway.

All kinds of flood come at once. Slow readers come by themselves to the services, which they cost most. With
ROOTS_TEST_FLOOD_SECONDS each kind comes to both, for so long.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from tests.integration.listener import Listener
from tests.testkit.background import LoopThread

from roots_devstack.stack import Stack, StackConfig

from .floods import ALL, KINDS, MAX_SECONDS
from .gateway import fill
from .honest import Honest
from .process import attacked

LONG_SECONDS = float(os.environ.get("ROOTS_TEST_FLOOD_SECONDS", "0"))
SECONDS = LONG_SECONDS or 1.5
# More than a service has places.
CONNECTIONS = 1400
P99_SECONDS = 1.0
KINDS_TO = (
    [(kind, through) for kind in (ALL, *KINDS) for through in ("services", "gateway")]
    if LONG_SECONDS
    else [(ALL, "services"), (ALL, "gateway"), ("slow-reader", "services")]
)
# Also of this machine, but not that of the attacker.
OTHER_ADDRESS = "127.0.0.2"


@pytest.fixture(scope="module")
def flooded(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield a system of the module's own, with a long list of tasks."""
    config = StackConfig(home=tmp_path_factory.mktemp("flooded"), sink=lambda _name, _line: None)
    with background.entered(Stack(config)) as running:
        background.run(fill(running.url))
        yield running


@asynccontextmanager
async def _attacked(kind: str, urls: list[str]) -> AsyncIterator[None]:
    """Attack each of `urls`; all connections are open when the block begins."""
    async with AsyncExitStack() as attacks:
        for index, url in enumerate(urls):
            connections = CONNECTIONS if index < 2 else CONNECTIONS // 10
            flood = attacked(kind, url, connections=connections, seconds=MAX_SECONDS)
            await attacks.enter_async_context(flood)
        yield


@pytest.mark.parametrize(("kind", "through"), KINDS_TO)
async def test_honest_users_notice_nothing_when_one_host_floods(flooded: Stack, kind: str, through: str) -> None:
    """I7: no connect, change or list of tasks and no probe fails; the p99 of all but lists stays below a second."""
    parts = flooded.processes
    tasks, connect = str(parts["tasks"].url), str(parts["subscriptions"].url)
    admins = [str(parts[name].admin_url) for name in ("tasks", "subscriptions")]
    targets = [tasks, connect, *admins] if through == "services" else [flooded.url]
    if through == "gateway":
        tasks = connect = flooded.url
    async with Listener(flooded.url, flooded.url, prefix="/comet") as client:
        await client.poll()
        honest = Honest(connect_url=connect, tasks_url=tasks, probe_urls=admins, uid=client.uid, reader=OTHER_ADDRESS)
        async with _attacked(kind, targets):
            await honest.work(SECONDS)
    # pytest -rP shows it.
    sys.stdout.write(f"{kind}, {through}: {honest.summary}\n")
    assert [] == honest.failures
    assert honest.p99_seconds < P99_SECONDS
