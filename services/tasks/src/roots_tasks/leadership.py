"""The lock that makes one relay of many the one that publishes, and the hints that come over the same connection.

Promises: the lock is a session's, so it ends when the connection does, however that ends; `watch` fails as soon as this
side can know it. May import: psycopg, database.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import psycopg

from roots_tasks.database import connection_options

# Any number that no other program of this database uses as an advisory lock.
LOCK_ID = 0x526F6F7473_02
# How often the connection is tried.
POLL_SECONDS = 1.0
STATEMENT_SECONDS = 5.0


class Leadership:
    """One connection that holds the lock, or tries to. Errors of every method: psycopg.Error, TimeoutError."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> Self:
        """Return a candidate with a connection of its own."""
        return cls(await psycopg.AsyncConnection.connect(url, **connection_options("leader")))

    async def close(self) -> None:
        """Close the connection, which frees the lock."""
        await self._connection.close()

    async def try_acquire(self) -> bool:
        """Take the lock if nobody has it; tell whether this is now the leader."""
        async with asyncio.timeout(STATEMENT_SECONDS):
            cursor = await self._connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_ID])
            row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def watch(self, wake: Callable[[], None], confirm: Callable[[], None]) -> None:
        """Call `wake` at each hint and `confirm` at each answer; fail when the connection (so the lock) ends."""
        await self._connection.execute("LISTEN roots_outbox")
        while True:
            async for _ in self._connection.notifies(timeout=POLL_SECONDS):
                wake()
            # A connection that was cut without a word is silent; a statement on it is not answered.
            async with asyncio.timeout(STATEMENT_SECONDS):
                await self._connection.execute("SELECT")
            confirm()
