"""What the tests of the outbox share: a table, and a sink in memory."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from roots.contracts.events import MAX_MESSAGE_BYTES, Event, Outcome, Published
from roots.contracts.subjects import is_path
from roots.http.health import Check
from roots_outbox import table
from roots_outbox.application.schema import Connection
from roots_outbox.source import OutboxSource


class Table:
    """An outbox, and a connection of the test's own to its database."""

    def __init__(self, source: OutboxSource, connection: psycopg.Connection) -> None:
        self.source = source
        self.connection = connection

    def create(self) -> None:
        """Create the table and its schema."""
        schema, _, _ = self.source.table_name.rpartition('."')
        self.connection.execute(b"CREATE SCHEMA " + schema.encode())
        self.rows(table.CREATE)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement in which `{table}` is the outbox; none when it has no rows."""
        statement = sql.SQL(query).format(table=self.source.table)
        cursor = self.connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    def insert(self, *numbers: int, key: str | None = None) -> None:
        """Commit an event for each number, with the number as its message and, by default, as its ordering key."""
        insert = "INSERT INTO {table} (path, ordering_key, message) VALUES ('tasks', %s, %s)"
        for number in numbers:
            self.rows(insert, str(number) if key is None else key, str(number))

    def ids(self) -> list[int]:
        """Return the ids of the rows that are left."""
        return [row_id for (row_id,) in self.rows("SELECT id FROM {table} ORDER BY id")]


class MemorySink:
    """A sink that keeps what it is given; it gives the outcomes `next_outcomes` first, whatever the events are."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.next_outcomes: list[Outcome] = []
        self.changed = asyncio.Event()
        self.checks: Mapping[str, Callable[[], Check]] = {}
        self._ids: set[str] = set()

    @property
    def messages(self) -> list[str]:
        """The messages that it has stored, in order."""
        return [event.message.decode() for event in self.events]

    async def run(self) -> None:
        """Stay connected."""
        await asyncio.Event().wait()

    async def publish(self, events: Sequence[Event]) -> list[Published]:
        """Store what can be stored."""
        outcomes = [self.next_outcomes.pop(0) if self.next_outcomes else self._store(event) for event in events]
        return [Published(outcome) for outcome in outcomes]

    def _store(self, event: Event) -> Outcome:
        if not is_path(event.path) or len(event.message) > MAX_MESSAGE_BYTES:
            return Outcome.REFUSED
        if event.event_id in self._ids:
            return Outcome.REPEATED
        self._ids.add(event.event_id)
        self.events.append(event)
        return Outcome.STORED


def take(connection: Connection) -> list[tuple[str, Any]]:
    """Return and delete what waits, as paths and messages, in the order in which the relay reads it."""
    rows = connection.execute("SELECT path, message FROM roots.outbox ORDER BY id").fetchall()
    connection.execute("DELETE FROM roots.outbox")
    return [(path, json.loads(message)) for path, message in rows]
