"""A real nats-server for the whole run, and what talks to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import wait_until

from roots.auth.policy import parse_policy
from roots.contracts.uids import Uids
from roots_devstack.servers.broker import Broker
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.index import GrantIndex
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.metrics import Metrics

from .support import KEY, OTHER_KEY, UID_KEY, Nats, Service, serve_nothing

POLICY = """
[apps.tasks]
allow = [{ paths = ["tasks", "many/**"], who = "anyone" }]

[apps.closed]
allow = []

[backends.todos]
key_file = "todos.key"
publish = ["tasks", "batch/*"]
grant = ["tasks", "many/**"]

[backends.news]
key_file = "news.key"
publish = ["news/**"]
rate = 1
burst = 1000

[backends.tutorial]
keyless = true
publish = ["tutorial/**"]
grant = ["tutorial/**"]
"""


OPEN_POLICY = """
[apps.tasks]
allow = [{ paths = ["**"], who = "anyone" }]
"""


@pytest.fixture(scope="session")
def nats(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """Yield a provisioned nats-server that no test stops."""
    with background.entered(Broker(tmp_path_factory.mktemp("nats"))) as server:
        background.run(server.provision())
        shared = Nats(background, server)
        yield shared
        shared.close()


@pytest.fixture
def own_nats(background: LoopThread, tmp_path: Path) -> Iterator[Nats]:
    """Yield a nats-server of the test's own, neither started nor provisioned."""
    server = Broker(tmp_path)
    own = Nats(background, server)
    yield own
    own.close()
    background.run(server.stop())


@pytest.fixture(scope="session")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a policy whose app `tasks` allows `tasks` and everything under `many`, and `closed` nothing.

    Its back ends are `todos`, `news`, which is slow, and `tutorial`, which has no key.
    """
    file = tmp_path_factory.mktemp("policy") / "policy.toml"
    file.write_text(POLICY, encoding="utf-8")
    file.with_name("todos.key").write_text(f"{KEY}\n", encoding="ascii")
    file.with_name("news.key").write_text(f"{OTHER_KEY}\n", encoding="ascii")
    return file


@pytest.fixture(scope="session")
def service(nats: Nats, policy_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield the service, ready, with the policy of `policy_file`."""
    with Service(nats, tmp_path_factory.mktemp("service"), ROOTS_POLICY=str(policy_file)) as running:
        wait_until(running.is_ready)
        yield running


@pytest.fixture
def uids() -> Uids:
    """Return what longpoll mints uids with."""
    return Uids(UID_KEY.encode())


@pytest.fixture
def uid(uids: Uids) -> str:
    """Return a uid that has no record yet."""
    return uids.mint()


@pytest.fixture
def metrics() -> Metrics:
    """Return metrics of the test's own."""
    return Metrics(CollectorRegistry())


@pytest.fixture
def broker_thread(nats: Nats) -> Iterator[BrokerThread]:
    """Yield a connected broker thread that serves nothing."""
    thread = BrokerThread(nats.config("subscriptions"), serve=serve_nothing, beat=lambda: None)
    thread.start()
    wait_until(lambda: thread.is_connected)
    yield thread
    thread.stop()


@pytest.fixture
def grants(broker_thread: BrokerThread, metrics: Metrics) -> Grants:
    """Return the grants of the shared server, under a policy that allows everything."""
    policy = parse_policy(OPEN_POLICY)
    store = GrantStore(broker_thread.client, metrics)
    return Grants(store, GrantIndex(store), lambda: policy, metrics)


@pytest.fixture
def other_grants(broker_thread: BrokerThread, metrics: Metrics) -> Grants:
    """Return the same grants as another replica has them."""
    policy = parse_policy(OPEN_POLICY)
    store = GrantStore(broker_thread.client, metrics)
    return Grants(store, GrantIndex(store), lambda: policy, metrics)
