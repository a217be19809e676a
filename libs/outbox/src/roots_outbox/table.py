"""The outbox table, and the relay's reads of it: in order, and deleted after the acknowledgement.

Promises: a row that was committed is read until it is deleted, however late its commit.
May import: psycopg, database, source.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Self

from psycopg import sql

from roots.contracts.events import Event
from roots_outbox.database import Advance, Row
from roots_outbox.source import Connection, OutboxSource

# Every statement here touches at most a few hundred rows; one that takes longer hangs.
STATEMENT_SECONDS = 5.0

# create: a queue; the relay deletes each row after its acknowledgement. Events of one ordering key are published in the
# order of their ids. So a writer locks what the key stands for before it inserts, and the ids follow commit order.
CREATE = """
CREATE TABLE {table} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Random, not the id: a restored database uses ids again, and the sink would take new events for repeats.
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    path text NOT NULL,
    ordering_key text NOT NULL,
    message text NOT NULL,
    traceparent text,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    -- Every row is soon dead. Vacuum by count, or a burst would leave the relay reading through its remains.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000
)
"""

# advance: delete what the sink has acknowledged, and read the oldest events that are left, without those of keys that
# are held back. The statement sees the rows that it deletes itself. A row that somebody else has locked is left for a
# later time: the lock must not stop the delivery of the others.
_ADVANCE = """
WITH free AS MATERIALIZED (
    SELECT id FROM {table} WHERE id = ANY (%(acknowledged)s::bigint[]) FOR UPDATE SKIP LOCKED
),
deleted AS (DELETE FROM {table} WHERE id IN (SELECT id FROM free) RETURNING id)
SELECT count, next.*
FROM (SELECT count(*) FROM deleted) AS counted
LEFT JOIN (
    SELECT id, ordering_key, path, message, event_id::text,
           (extract(epoch FROM committed_at) * 1000000)::bigint * 1000 AS committed_ns, traceparent
    FROM {table}
    WHERE id NOT IN (SELECT unnest(%(acknowledged)s::bigint[])) AND ordering_key <> ALL (%(held)s::text[])
    ORDER BY id LIMIT %(limit)s
) AS next ON true
ORDER BY next.id
"""

# refuse: move what the sink refuses for good out of the way of what follows.
_REFUSE = """
WITH gone AS (DELETE FROM {table} WHERE id = ANY (%(ids)s::bigint[]) RETURNING *)
INSERT INTO {refused} (event_id, path, ordering_key, message, traceparent, committed_at, reason)
SELECT event_id, path, ordering_key, message, traceparent, committed_at, reason
FROM gone JOIN unnest(%(ids)s::bigint[], %(reasons)s::text[]) AS why (id, reason) USING (id)
ORDER BY id
"""

# left: which of the rows are still there.
_LEFT = "SELECT id FROM {table} WHERE id = ANY (%(ids)s::bigint[])"


class PostgresOutbox:
    """The outbox over one connection. Every method raises psycopg.Error or TimeoutError when Postgres fails."""

    def __init__(self, connection: Connection, source: OutboxSource) -> None:
        self._connection = connection
        self.keeps_refused = source.refused is not None
        """Whether there is a table for what is refused."""
        names = {"table": source.table, "refused": source.refused or source.table}
        self._advance, self._left, self._refuse = (
            sql.SQL(statement).format(**names).as_bytes(None) for statement in (_ADVANCE, _LEFT, _REFUSE)
        )

    @classmethod
    async def open(cls, source: OutboxSource) -> Self:
        """Return the outbox over a new connection."""
        connection = await source.connect("relay")
        # A delete that a crash of Postgres loses is an event published twice, which the sink's deduplication drops:
        # not worth a disk sync for each batch.
        await connection.execute("SET synchronous_commit = off")
        # The statements' plans are made while the table is empty, and then kept: without this they would read the whole
        # table, half a second for each batch once an outage has left a hundred thousand events in it.
        await connection.execute("SET enable_seqscan = off")
        return cls(connection, source)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def advance(self, acknowledged: Collection[int], *, held: Collection[str], limit: int) -> Advance:
        """Delete the rows with the ids `acknowledged`, which the sink has, and read the oldest that are left.

        Shape: at most `limit` rows, none of the ordering keys `held`.
        """
        values = {"acknowledged": list(acknowledged), "held": list(held), "limit": limit}
        found = await self._fetch(self._advance, values)
        rows = [
            Row(
                id=row_id,
                ordering_key=ordering_key,
                event=Event(
                    path=path,
                    message=message.encode(),
                    event_id=event_id,
                    committed_ns=committed_ns,
                    traceparent=traceparent,
                ),
            )
            for _, row_id, ordering_key, path, message, event_id, committed_ns, traceparent in found
            if row_id is not None
        ]
        deleted = found[0][0]
        if deleted == len(acknowledged):
            return Advance(rows=rows, locked=[])
        return Advance(
            rows=rows, locked=[row_id for (row_id,) in await self._fetch(self._left, {"ids": list(acknowledged)})]
        )

    async def refuse(self, reasons: Mapping[int, str]) -> None:
        """Move the rows with these ids to the table of what is refused, each with its reason."""
        values = {"ids": list(reasons), "reasons": list(reasons.values())}
        async with asyncio.timeout(STATEMENT_SECONDS):
            await self._connection.execute(self._refuse, values)

    async def _fetch(self, query: bytes, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        async with asyncio.timeout(STATEMENT_SECONDS):
            cursor = await self._connection.execute(query, values)
            return await cursor.fetchall()
