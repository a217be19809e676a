"""The outbox in an application's own database: what it adds to a write, and how fast its relay publishes.

`outbox` is for the target `application`. How soon a write is at a client is the scenario `write_to_event` of writes.py.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping

import psycopg

from bench.backend_api import BackendApi
from bench.errors import LoadError
from bench.publishers import Publisher
from bench.scenarios import Figures
from bench.targets import READY_SECONDS, Target
from bench.usage import children_of, cpu_seconds
from roots_devstack.processes.environment import inherited
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.postgres import Postgres
from roots_devstack.services import Service
from roots_outbox.application import schema
from roots_outbox.application.schema import Connection

_EMPTY_SECONDS = 60.0
_LOOK_SECONDS = 0.01
# As an ORM makes it. `todo` is watched, `plain` is not.
_TABLES = """
CREATE TABLE person (id integer PRIMARY KEY);
INSERT INTO person SELECT generate_series(1, 100);
CREATE TABLE plain (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner_id integer NOT NULL DEFAULT 1 REFERENCES person,
    description varchar(200) NOT NULL, is_done boolean NOT NULL DEFAULT false,
    created timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON plain (owner_id);
CREATE TABLE todo (LIKE plain INCLUDING ALL, FOREIGN KEY (owner_id) REFERENCES person);
SELECT roots.watch('todo', 'tasks')
"""
_INSERT_MANY = """
INSERT INTO {table} (owner_id, description) SELECT 1 + n % 100, 'Water plant ' || n FROM generate_series(1, {rows}) AS n
"""
_PUBLISH_MANY = "SELECT roots.publish('tasks', n::text) FROM generate_series(1, {rows}) AS n"
_STATEMENTS = {"insert": _INSERT_MANY, "update": "UPDATE {table} SET is_done = NOT is_done"}
_INSERT = "INSERT INTO {table} (description) VALUES ('Water the plants')"
# One more round trip is no cost of the outbox.
_TRANSACTIONS = {
    "alone": (_INSERT.format(table="plain"), "SELECT length('{\"guid\": 1}')"),
    "publish": (_INSERT.format(table="plain"), "SELECT roots.publish('tasks', '{\"guid\": 1}')"),
    "watch": (_INSERT.format(table="todo"), "SELECT length('{\"guid\": 1}')"),
}


class TablePublisher(Publisher):
    """Inserts a row into the watched table for each event; its description is the message."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        super().__init__()
        self._connection = connection

    async def send(self, _path: str, message: bytes) -> None:
        """Insert one row."""
        await self._connection.execute("INSERT INTO todo (description) VALUES (%s)", [message.decode()])


class Application(BackendApi):
    """A Postgres with the schema `roots`, its relay, and all of Roots that is between it and a client."""

    name = "application"

    def __init__(self) -> None:
        super().__init__()
        self._postgres = Postgres(self.home)
        self._relay: Service | None = None
        self._connection: psycopg.AsyncConnection | None = None

    @property
    def database_url(self) -> str:
        """How the owner of the tables connects."""
        return self._postgres.owner_url

    @property
    def port(self) -> int:
        """Where the replica serves."""
        return self.port_of(0)

    @property
    def beside(self) -> Mapping[str, list[int]]:
        """The database and the relay too."""
        postmaster = self._postgres.process.pid
        relay = None if self._relay is None else self._relay.process.pid
        return {
            **super().beside,
            "postgres": [] if postmaster is None else [postmaster, *children_of(postmaster)],
            "relay": [] if relay is None else [relay],
        }

    async def start(self) -> None:
        """Start Roots, the database, then the relay."""
        await super().start()
        await self._postgres.start()
        with schema.connect(self.database_url) as connection:
            schema.install(connection)
            connection.execute(_TABLES.encode())
        env = {
            "ROOTS_HTTP_HOST": "127.0.0.1",
            "ROOTS_DATABASE_URL": self.database_url,
            "ROOTS_BACKEND_API_URL": self.url,
            "ROOTS_BACKEND_API_KEY": self.key,
        }
        relay = self._relay = Service("relay", "cornelius", "outbox", "relay", http_port=None, env=inherited(env))
        await relay.process.start()
        await until_ready(relay, seconds=READY_SECONDS)

    async def stop_relay(self) -> None:
        """Leave what is written in the outbox."""
        if self._relay is not None:
            await self._relay.process.stop()

    async def stop(self) -> None:
        """Stop the relay first."""
        await self.stop_relay()
        await self._postgres.stop()
        await super().stop()

    async def connect_publisher(self) -> None:
        """Insert rows."""
        self._connection = await psycopg.AsyncConnection.connect(self.database_url, autocommit=True)
        self.publisher = TablePublisher(self._connection)

    async def __aexit__(self, *error: object) -> None:
        if self._connection is not None:
            await self._connection.close()
        await super().__aexit__(None, None, None)


async def outbox(target: Target, *, rows: int, rounds: int, transactions: int) -> Figures:
    """Publish `rows` rows of one statement, and `transactions` messages of one path; then measure writes alone.

    Shape: published_per_second are of the rows, one_path_per_second of the messages, whose order takes one at a time;
        insert_ratio and update_ratio compare the CPU of a statement of `rows` rows with that of the same on a table
        that is not watched, by their medians of `rounds`; publish_adds and watch_adds are what a small transaction
        takes longer, and what CPU of the database it takes more.
    """
    if not isinstance(target, Application):
        raise LoadError("the scenario outbox needs the target application")
    with schema.connect(target.database_url) as connection:
        figures = {
            "published_per_second": await _publish(connection, _INSERT_MANY, "todo", rows),
            "one_path_per_second": await _publish(connection, _PUBLISH_MANY, "", transactions),
        }
        await target.in_thread(target.stop_relay())
        return figures | _compare_statements(connection, rows, rounds) | _compare_transactions(connection, transactions)


async def _publish(connection: Connection, statement: str, table: str, rows: int) -> float:
    """Return how many events a second leave the outbox after a statement that writes `rows`. Errors: TimeoutError."""
    connection.execute(statement.format(table=table, rows=rows).encode())
    began = time.perf_counter()
    async with asyncio.timeout(_EMPTY_SECONDS):
        # Polled: no event reports that it is empty.
        while connection.execute("SELECT FROM roots.outbox LIMIT 1").rowcount:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
    return rows / (time.perf_counter() - began)


def _compare_statements(connection: Connection, rows: int, rounds: int) -> Figures:
    spent: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        connection.execute("DELETE FROM plain")
        connection.execute("DELETE FROM todo")
        connection.execute("VACUUM plain, todo")
        connection.execute("TRUNCATE roots.outbox")
        for name, statement in _STATEMENTS.items():
            for table in ("plain", "todo"):
                before = _cpu_seconds(connection)
                connection.execute(statement.format(table=table, rows=rows).encode())
                spent.setdefault((name, table), []).append(_cpu_seconds(connection) - before)
    medians = {key: statistics.median(seconds) for key, seconds in spent.items()}
    return {f"{name}_ratio": medians[name, "todo"] / medians[name, "plain"] for name in _STATEMENTS} | {
        f"{name}_{table}_cpu_ms": seconds * 1000 for (name, table), seconds in medians.items()
    }


def _compare_transactions(connection: Connection, count: int) -> Figures:
    took: dict[str, list[float]] = {name: [] for name in _TRANSACTIONS}
    spent: dict[str, list[float]] = {name: [] for name in _TRANSACTIONS}
    for _ in range(count):
        for name, statements in _TRANSACTIONS.items():
            before, began = _cpu_seconds(connection), time.perf_counter()
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement.encode())
            took[name].append(time.perf_counter() - began)
            spent[name].append(_cpu_seconds(connection) - before)
    alone, cpu_alone = statistics.median(took["alone"]), statistics.median(spent["alone"])
    figures = {"transaction_ms": alone * 1000, "transaction_cpu_us": cpu_alone * 1e6}
    for name in ("publish", "watch"):
        figures[f"{name}_adds_ms"] = (statistics.median(took[name]) - alone) * 1000
        figures[f"{name}_adds_cpu_us"] = (statistics.median(spent[name]) - cpu_alone) * 1e6
    return figures


def _cpu_seconds(connection: Connection) -> float:
    return cpu_seconds([connection.info.backend_pid])
