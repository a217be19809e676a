"""The outbox in a Postgres. May import: psycopg, leadership, table, source. Implements: database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from roots_outbox.leadership import PostgresLeadership
from roots_outbox.source import Connection, OutboxSource
from roots_outbox.table import PostgresOutbox

# The server ends what takes longer; the second bound is for a server that does not answer at all.
STATEMENT_TIMEOUT = "1s"
ANSWER_SECONDS = 3.0

_LIMIT_STATEMENTS = b"SELECT set_config('statement_timeout', %(timeout)s, false)"

# measure: the age of the event that was committed first, and how many events wait.
_MEASURE = """
SELECT (SELECT extract(epoch FROM clock_timestamp() - committed_at)::float8 FROM {table} ORDER BY id LIMIT 1),
       CASE
           WHEN counted < %(limit)s THEN counted
           ELSE (SELECT id FROM {table} ORDER BY id DESC LIMIT 1) - (SELECT id FROM {table} ORDER BY id LIMIT 1) + 1
       END
FROM (SELECT count(*) AS counted FROM (SELECT 1 FROM {table} ORDER BY id LIMIT %(limit)s) AS first) AS counting
"""

Execute = Callable[..., Awaitable[psycopg.AsyncCursor[tuple[Any, ...]]]]
"""Runs a statement with the values that it is given by name, within ANSWER_SECONDS."""

Job = Callable[[Execute], Awaitable[float]]
"""Work beside delivery; it returns after how many seconds to run it again."""


@dataclass(frozen=True, slots=True)
class PostgresDatabase:
    """The outbox of `source`, with `jobs` to do beside delivery. It is a Database."""

    source: OutboxSource
    jobs: Sequence[Job] = ()
    name = "postgres"
    errors = (psycopg.Error, OSError, TimeoutError)

    def describe(self, error: BaseException) -> str:
        """Return what is wrong, for the operator."""
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            return f"the database lacks its schema; run: {self.source.install_command}"
        return f"Postgres does not answer: {str(error).strip().partition(chr(10))[0] or type(error).__name__}"

    async def open_leadership(self) -> PostgresLeadership:
        """Return a candidate with a connection of its own."""
        return await PostgresLeadership.open(self.source)

    async def open_outbox(self) -> PostgresOutbox:
        """Return the outbox over a new connection."""
        return await PostgresOutbox.open(self.source)

    async def open_session(self) -> "PostgresSession":
        """Return a new connection for the work beside delivery."""
        connection = await self.source.connect("maintenance")
        # A kept plan would be that of an empty table, long after an outage has filled it.
        connection.prepare_threshold = None
        session = PostgresSession(connection, self.source, self.jobs)
        try:
            await session.execute(_LIMIT_STATEMENTS, timeout=STATEMENT_TIMEOUT)
        except BaseException:
            await session.close()
            raise
        return session


class PostgresSession:
    """A connection for the work beside delivery, each statement of which is bounded in time."""

    def __init__(self, connection: Connection, source: OutboxSource, jobs: Sequence[Job]) -> None:
        self._connection = connection
        self._measure = sql.SQL(_MEASURE).format(table=source.table).as_bytes(None)
        self.jobs = [partial(job, self.execute) for job in jobs]
        """The jobs, on this connection."""

    async def execute(self, query: bytes, **values: object) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        """Run a statement with `values`. Errors: psycopg.Error, TimeoutError."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._connection.execute(query, values)

    async def measure(self, limit: int) -> tuple[float | None, int]:
        """Return the age of the event that was committed first, and how many events wait."""
        ((age_seconds, waiting),) = await (await self.execute(self._measure, limit=limit)).fetchall()
        return age_seconds, waiting

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
