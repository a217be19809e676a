"""A real nats-server for the whole run, and replicas in the loop that serves in production."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.testkit.background import LoopThread

from roots_devstack.servers.broker import Broker
from roots_longpoll.http import drain
from roots_longpoll.replica import Replica

from .net_support import Around, RawConnection, running


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run these tests on uvloop, as the service runs."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def nats(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Yield a provisioned nats-server that no test stops."""
    with background.entered(Broker(tmp_path_factory.mktemp("nats"))) as server:
        background.run(server.provision())
        yield server


@pytest.fixture
async def around(nats: Broker, background: LoopThread) -> AsyncIterator[Around]:
    """Yield what surrounds a replica."""
    around = Around(nats, background)
    yield around
    await around.close()


@pytest.fixture(autouse=True)
def quick_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a replica does in rounds come around sooner, since hundreds of replicas start and stop here."""
    monkeypatch.setattr("roots_longpoll.replica.SWEEPS_PER_SECOND", 64)
    monkeypatch.setattr(drain, "STEP_SECONDS", 0.01)


@pytest.fixture(autouse=True)
async def closed_wires() -> AsyncIterator[None]:
    """Close what a test opened."""
    yield
    while RawConnection.opened:
        await RawConnection.opened.pop().close()


@pytest.fixture
async def replica(around: Around, settings: dict[str, Any]) -> AsyncIterator[Replica]:
    """Yield a ready replica."""
    async with running(around.config(**settings)) as replica:
        yield replica


@pytest.fixture
def settings() -> dict[str, Any]:
    """Return what a test's replica has set differently; a module overrides it."""
    return {}


@pytest.fixture
def own_nats(background: LoopThread, tmp_path: Path) -> Iterator[Broker]:
    """Yield a provisioned nats-server of the test's own."""
    with background.entered(Broker(tmp_path)) as server:
        background.run(server.provision())
        yield server


@pytest.fixture
async def own(own_nats: Broker, background: LoopThread) -> AsyncIterator[Around]:
    """Yield what surrounds a replica, with a nats-server to be stopped and emptied."""
    around = Around(own_nats, background)
    yield around
    await around.close()
