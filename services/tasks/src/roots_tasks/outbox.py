"""The outbox table as the relay uses it: read in order, deleted after the acknowledgement.

Owns the table `outbox` after its rows were committed. May import: psycopg, database, roots.contracts.events.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, Self

import psycopg

from roots.contracts.events import Event
from roots_tasks.database import connection_options

# Every statement here touches at most a few hundred rows; one that takes longer hangs.
STATEMENT_SECONDS = 5.0

# advance: delete what the stream has acknowledged, and read the oldest events that are left, in the order in which each
# task's were committed, without those of tasks that are held back. The statement sees the rows that it deletes itself.
# A row that somebody else has locked is left for a later time: the lock must not stop the delivery of the others.
_ADVANCE = """
WITH free AS MATERIALIZED (
    SELECT id FROM outbox WHERE id = ANY (%(acknowledged)s::bigint[]) FOR UPDATE SKIP LOCKED
),
gone AS (DELETE FROM outbox WHERE id IN (SELECT id FROM free) RETURNING id)
SELECT deleted, next.*
FROM (SELECT count(*) AS deleted FROM gone) AS counted
LEFT JOIN (
    SELECT id, task_id, path, message, event_id::text,
           (extract(epoch FROM committed_at) * 1000000)::bigint * 1000 AS committed_ns, traceparent
    FROM outbox WHERE id NOT IN (SELECT unnest(%(acknowledged)s::bigint[])) AND task_id <> ALL (%(held)s::bigint[])
    ORDER BY id LIMIT %(limit)s
) AS next ON true
ORDER BY next.id
"""

# left: which of the rows are still there.
_LEFT = "SELECT id FROM outbox WHERE id = ANY (%(ids)s::bigint[])"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One committed event that the stream has not acknowledged yet."""

    id: int
    task_id: int
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What one step found.

    Shape: rows are the next to publish; locked are the ids of acknowledged rows that stay for now, since somebody else
        has locked them.
    """

    rows: list[Row]
    locked: list[int]


def batches(rows: Sequence[Row], limit: int) -> Iterator[list[Row]]:
    """Cut `rows` into batches of at most `limit` in which no task occurs twice.

    The events of one batch are under way at the same time, and any of them may fail. Since none of them follows another
    of its task, a task's later event is never stored before an earlier one.
    """
    batch: list[Row] = []
    tasks: set[int] = set()
    for row in rows:
        if row.task_id in tasks or len(batch) == limit:
            yield batch
            batch, tasks = [], set()
        batch.append(row)
        tasks.add(row.task_id)
    if batch:
        yield batch


class Outbox:
    """The outbox over one connection. Every method raises psycopg.Error or TimeoutError when Postgres fails."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> Self:
        """Return the outbox over a new connection."""
        connection = await psycopg.AsyncConnection.connect(url, **connection_options("relay"))
        # A delete that a crash of Postgres loses is an event published twice, which the stream's deduplication drops:
        # not worth a disk sync for each batch.
        await connection.execute("SET synchronous_commit = off")
        # The statements' plans are made while the table is empty, and then kept: without this they would read the whole
        # table, half a second for each batch once an outage has left a hundred thousand events in it.
        await connection.execute("SET enable_seqscan = off")
        return cls(connection)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def advance(self, acknowledged: Collection[int], *, held: Collection[int], limit: int) -> Advance:
        """Delete the rows with the ids `acknowledged`, which the stream has, and read the oldest that are left.

        Shape: at most `limit` rows, none of the tasks `held`.
        """
        values = {"acknowledged": list(acknowledged), "held": list(held), "limit": limit}
        found = await self._fetch(_ADVANCE, values)
        rows = [
            Row(
                id=row_id,
                task_id=task_id,
                event=Event(
                    path=path,
                    message=message.encode(),
                    event_id=event_id,
                    committed_ns=committed_ns,
                    traceparent=traceparent,
                ),
            )
            for _, row_id, task_id, path, message, event_id, committed_ns, traceparent in found
            if row_id is not None
        ]
        deleted = found[0][0]
        if deleted == len(acknowledged):
            return Advance(rows=rows, locked=[])
        return Advance(
            rows=rows, locked=[row_id for (row_id,) in await self._fetch(_LEFT, {"ids": list(acknowledged)})]
        )

    async def _fetch(self, query: LiteralString, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        async with asyncio.timeout(STATEMENT_SECONDS):
            cursor = await self._connection.execute(query, values)
            return await cursor.fetchall()
