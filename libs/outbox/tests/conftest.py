"""A real PostgreSQL and a real nats-server for the whole run, and an outbox of its own for each test."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from tests.testkit.background import LoopThread

from roots.nats.broker import BrokerConfig
from roots_devstack.servers.broker import Broker
from roots_devstack.servers.postgres import Postgres
from roots_outbox.application import schema
from roots_outbox.application.schema import Connection
from roots_outbox.source import OutboxSource

from .support import Table

_numbers = itertools.count(1)

TASKS = """
CREATE TABLE "To do" (
    id integer PRIMARY KEY, "is done" boolean NOT NULL DEFAULT false, "100%" text, owner integer
)
"""


@pytest.fixture(scope="session")
def postgres(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Start a PostgreSQL that no test stops."""
    with background.entered(Postgres(tmp_path_factory.mktemp("postgres"))) as server:
        yield server


@pytest.fixture(scope="session")
def nats(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerConfig]:
    """Start a provisioned nats-server that no test stops, and return how a relay connects to it."""
    with background.entered(Broker(tmp_path_factory.mktemp("nats"))) as server:
        background.run(server.provision())
        yield BrokerConfig(url=server.url, user="tasks", password=server.password("tasks"))


@contextmanager
def _named_table(postgres: Postgres) -> Iterator[Table]:
    """Name an outbox in a schema of its own, both with names that need quotes."""
    source = OutboxSource(
        database_url=postgres.owner_url,
        table=sql.Identifier(f'an odd "schema" {next(_numbers)}', "out.box"),
        application="roots-test",
        install_command="roots-test install",
    )
    with psycopg.connect(postgres.owner_url, autocommit=True) as connection:
        yield Table(source, connection)


@pytest.fixture
def missing_table(postgres: Postgres) -> Iterator[Table]:
    """Name an outbox that is not there."""
    with _named_table(postgres) as named:
        yield named


@pytest.fixture
def table(missing_table: Table) -> Table:
    """Create an outbox."""
    missing_table.create()
    return missing_table


@pytest.fixture
def other_table(postgres: Postgres) -> Iterator[Table]:
    """Create a second outbox in the same database."""
    with _named_table(postgres) as named:
        named.create()
        yield named


@pytest.fixture
def url(postgres: Postgres) -> str:
    """Create a database of the test's own, and return how its owner, who is no superuser, connects."""
    name = f"application{next(_numbers)}"
    with psycopg.connect(postgres.superuser_url, autocommit=True) as superuser:
        superuser.execute(sql.SQL("CREATE DATABASE {} OWNER tasks_owner").format(sql.Identifier(name)))
    return postgres.owner_url.removesuffix("/tasks") + f"/{name}"


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """Yield a connection to a database with the schema, and with a table whose names need quotes."""
    with psycopg.connect(url, autocommit=True) as opened:
        schema.install(opened)
        opened.execute(TASKS)
        yield opened
