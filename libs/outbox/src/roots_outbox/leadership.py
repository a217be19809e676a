"""The lock that makes one relay of many the one that publishes, and the hints that come over the same connection.

Promises: the lock is a session's, so it ends when the connection does, however that ends; `watch` fails as soon as this
side can know it. May import: psycopg, source.
"""

import asyncio
from collections.abc import Callable
from typing import Self

from roots_outbox.source import CHANNEL, Connection, OutboxSource

# The upper half of the lock's number; the lower half is the table's, so that each outbox of a database has its own.
_LOCK_CLASS = 0x526F6F74
# How often the connection is tried.
POLL_SECONDS = 1.0
STATEMENT_SECONDS = 5.0

_ACQUIRE = "SELECT pg_try_advisory_lock((%s::bigint << 32) | %s::regclass::oid::bigint)"


class PostgresLeadership:
    """One connection that holds the lock, or tries to. Errors of every method: psycopg.Error, TimeoutError."""

    def __init__(self, connection: Connection, table_name: str) -> None:
        self._connection = connection
        self._table_name = table_name

    @classmethod
    async def open(cls, source: OutboxSource) -> Self:
        """Return a candidate with a connection of its own."""
        return cls(await source.connect("leader"), source.table_name)

    async def close(self) -> None:
        """Close the connection, which frees the lock."""
        await self._connection.close()

    async def try_acquire(self) -> bool:
        """Take the lock if it is free; return whether this is now the leader."""
        async with asyncio.timeout(STATEMENT_SECONDS):
            cursor = await self._connection.execute(_ACQUIRE, [_LOCK_CLASS, self._table_name])
            row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def watch(self, wake: Callable[[], None], confirm: Callable[[], None]) -> None:
        """Call `wake` at each hint and `confirm` at each answer; fail when the connection (so the lock) ends."""
        await self._connection.execute(f"LISTEN {CHANNEL}".encode())
        while True:
            async for _ in self._connection.notifies(timeout=POLL_SECONDS):
                wake()
            # A connection that was cut silently reports nothing; a statement on it is not answered.
            async with asyncio.timeout(STATEMENT_SECONDS):
                await self._connection.execute("SELECT")
            confirm()
