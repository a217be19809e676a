"""A real nats-server for the whole run, and services that talk to it, in this process and as one of their own."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from roots_common import broker, health
from roots_common.uids import Uids
from roots_devstack.background import LoopThread
from roots_devstack.broker import Broker, User
from roots_subscriptions.broker_thread import BrokerThread
from roots_subscriptions.grants import GrantStore
from roots_subscriptions.metrics import Metrics

UID_KEY = "a key for tests, of 32 bytes or more"
DEADLINE_SECONDS = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds; fail after DEADLINE_SECONDS."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come to hold"
        time.sleep(0.02)


@dataclass
class Nats:
    """A nats-server, and clients of it as any of its users. Synchronous: the loop is a thread's."""

    loop: LoopThread
    server: Broker
    clients: dict[str, Client] = field(default_factory=dict)

    def config(self, user: User) -> broker.BrokerConfig:
        """Return how `user` connects."""
        return broker.BrokerConfig(url=self.server.url, user=user, password=self.server.password(user))

    def client(self, user: User) -> Client:
        """Return a connected client of `user`, always the same."""
        if user not in self.clients:
            self.clients[user] = self.loop.run(broker.connect(self.config(user)))
        return self.clients[user]

    def publish_event(self, path: str = "tasks", message: bytes = b"{}") -> int:
        """Store an event and return its sequence."""
        js = self.client("tasks").jetstream()
        return self.loop.run(js.publish(f"roots.events.{path}", message, stream="ROOTS_EVENTS")).seq

    def close(self) -> None:
        """Close every client."""
        for client in self.clients.values():
            self.loop.run(client.close())


@pytest.fixture(scope="session")
def loop() -> Iterator[LoopThread]:
    """An event loop that lives as long as the run."""
    with LoopThread() as thread:
        yield thread


@pytest.fixture(scope="session")
def nats(loop: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A provisioned nats-server that no test stops."""
    with loop.entered(Broker(tmp_path_factory.mktemp("nats"))) as server:
        loop.run(server.provision())
        shared = Nats(loop, server)
        yield shared
        shared.close()


@pytest.fixture
def own_nats(loop: LoopThread, tmp_path: Path) -> Iterator[Nats]:
    """A nats-server of the test's own, neither started nor provisioned."""
    server = Broker(tmp_path)
    own = Nats(loop, server)
    yield own
    own.close()
    loop.run(server.stop())


@pytest.fixture
def uids() -> Uids:
    """What longpoll mints uids with."""
    return Uids(UID_KEY.encode())


@pytest.fixture
def uid(uids: Uids) -> str:
    """Return a uid that has no record yet."""
    return uids.mint()


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of the test's own."""
    return Metrics(CollectorRegistry())


@pytest.fixture
def broker_thread(nats: Nats) -> Iterator[BrokerThread]:
    """A connected broker thread that serves nothing."""
    thread = BrokerThread(nats.config("subscriptions"), serve=serve_nothing, beat=health.Health().beat)
    thread.start()
    wait_until(lambda: thread.is_connected)
    yield thread
    thread.stop()


async def serve_nothing(_client: Client) -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


@pytest.fixture
def store(broker_thread: BrokerThread, metrics: Metrics) -> GrantStore:
    """The grants of the shared server."""
    return GrantStore(broker_thread.client, metrics)
