"""A real PostgreSQL and a real nats-server for the whole run, and a database of its own for each test."""

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from falcon.testing import TestClient
from prometheus_client import CollectorRegistry
from psycopg import sql
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import wait_until

from roots.auth.authentication import Authenticator
from roots_devstack.servers.broker import Broker
from roots_devstack.servers.postgres import DATABASE, OWNER, ROLE, Postgres
from roots_tasks.api.app import create_app
from roots_tasks.api.policy import OPEN_POLICY, AuthMiddleware
from roots_tasks.metrics import ServeMetrics
from roots_tasks.storage import migrate
from roots_tasks.storage.database import Database
from roots_tasks.storage.store import Store

from .support import Command, Nats, Sql, relay_environment

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Start a PostgreSQL whose database `tasks` is migrated, as the template of the tests' own."""
    with background.entered(Postgres(tmp_path_factory.mktemp("postgres"))) as server:
        migrate.migrate(server.owner_url, migrate.packaged(), print, role=ROLE)
        with psycopg.connect(server.superuser_url, autocommit=True) as connection:
            # So that tests see the services' sessions, and can end them.
            connection.execute(f"GRANT pg_read_all_stats, pg_signal_backend TO {OWNER}")
        yield server


@pytest.fixture(scope="session")
def nats(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """Start a provisioned nats-server that no test stops."""
    with background.entered(Broker(tmp_path_factory.mktemp("nats"))) as server:
        background.run(server.provision())
        with closing(Nats(background, server)) as shared:
            yield shared


@pytest.fixture
def own_nats(background: LoopThread, tmp_path: Path) -> Iterator[Nats]:
    """Make a nats-server of the test's own, not started yet."""
    server = Broker(tmp_path)
    with closing(Nats(background, server)) as own:
        yield own
    background.run(server.stop())


def _create_database(postgres: Postgres, template: str) -> str:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*map(sql.Identifier, (name, template, OWNER)))
        )
    return name


def _open(postgres: Postgres, name: str) -> Sql:
    return Sql(*(url.removesuffix(DATABASE) + name for url in (postgres.owner_url, postgres.url)))


@pytest.fixture
def db(postgres: Postgres) -> Iterator[Sql]:
    """Create a migrated database of the test's own, and open its owner's connection to it."""
    session = _open(postgres, _create_database(postgres, DATABASE))
    with closing(session.connection):
        yield session


@pytest.fixture
def database_url(db: Sql) -> str:
    """Return where the services find the test's own database."""
    return db.url


@pytest.fixture
def empty_database_url(postgres: Postgres) -> str:
    """Create a database without a schema and return its URL, its owner's."""
    return postgres.owner_url.removesuffix(DATABASE) + _create_database(postgres, "template1")


@pytest.fixture(scope="session")
def shared_db(postgres: Postgres) -> Iterator[Sql]:
    """Open a connection to the database that the tests of the API without processes share."""
    session = _open(postgres, _create_database(postgres, DATABASE))
    with closing(session.connection):
        yield session


@pytest.fixture(scope="session")
def database(shared_db: Sql) -> Iterator[Database]:
    """Open the pool that `serve` uses on the shared database."""
    pool = Database(shared_db.url, max_connections=16)
    pool.open()
    with closing(pool):
        wait_until(lambda: pool.check().is_ok)
        yield pool


@pytest.fixture
def hints_wanted() -> list[str]:
    """Collect the hints that the store asks for."""
    return []


@pytest.fixture
def store(database: Database, shared_db: Sql, hints_wanted: list[str]) -> Store:
    """Return the tasks of the shared database, of which there are none yet."""
    shared_db.rows(b"TRUNCATE task, outbox, idempotency_key RESTART IDENTITY")
    return Store(database, lambda: hints_wanted.append("hint"))


@pytest.fixture
def client(store: Store) -> TestClient:
    """Return a client of the REST API on the test's database, without a socket."""
    registry = CollectorRegistry()
    auth = AuthMiddleware(lambda: OPEN_POLICY, Authenticator("tasks", registry))
    return TestClient(create_app(store, auth, ServeMetrics(registry), registry))


@pytest.fixture
def serve(database_url: str, tmp_path: Path) -> Iterator[Command]:
    """Run `serve` on the test's database; it is ready."""
    with Command("serve", tmp_path, ROOTS_DATABASE_URL=database_url) as command:
        wait_until(command.is_ready)
        yield command


@pytest.fixture
def relay(nats: Nats, database_url: str, tmp_path: Path) -> Command:
    """Return `relay` between the test's database and the shared nats-server, not started yet."""
    return Command("relay", tmp_path, **relay_environment(nats, database_url))
