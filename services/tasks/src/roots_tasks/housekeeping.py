"""The relay's work beside delivery: it measures the outbox, and prunes the idempotency keys.

Promises: delivery never waits for it. It has a connection and failures of its own, each statement is bounded in rows
and in time, and waits for no row's lock. May import: psycopg, database, metrics.
"""

import asyncio
import time
from typing import Any, LiteralString

import psycopg

from roots.http.health import Check, LastCheck
from roots.runtime import logs
from roots.runtime.episodes import Episode
from roots_tasks.database import OLD_EVENT_SECONDS, connection_options
from roots_tasks.metrics import RelayMetrics

MEASURE_SECONDS = 1.0
PRUNE_SECONDS = 600.0
RETRY_SECONDS = 2.0
CONNECT_SECONDS = 5.0
# The server ends what takes longer; the second bound is for a server that does not answer at all.
STATEMENT_TIMEOUT = "1s"
ANSWER_SECONDS = 3.0
# Longer than a failed look with the next try takes.
MAX_AGE_SECONDS = 10.0
# Up to so many events are counted.
COUNT_LIMIT = 10_000
PRUNE_LIMIT = 500
# Between two deletes, so that a day's keys do not go in one burst of writes.
PRUNE_PAUSE_SECONDS = 0.05

log = logs.get(__name__)

_LIMIT_STATEMENTS = "SELECT set_config('statement_timeout', %(timeout)s, false)"

# oldest: the age of the event that was committed first, by the index.
_OLDEST = """
SELECT extract(epoch FROM clock_timestamp() - committed_at)::float8 FROM outbox ORDER BY id LIMIT 1
"""

# count: how many events wait. From the limit on the extent of their ids stands for their number.
_COUNT = """
SELECT CASE
    WHEN counted < %(limit)s THEN counted
    ELSE (SELECT id FROM outbox ORDER BY id DESC LIMIT 1) - (SELECT id FROM outbox ORDER BY id LIMIT 1) + 1
END
FROM (SELECT count(*) AS counted FROM (SELECT 1 FROM outbox ORDER BY id LIMIT %(limit)s) AS first) AS counting
"""

# prune: some of the idempotency keys that have been kept for a day; those that somebody has locked stay.
_PRUNE = """
DELETE FROM idempotency_key WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM idempotency_key WHERE created_at < now() - interval '24 hours'
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Housekeeping:
    """Works while `leads` is set, and rests while another relay leads."""

    def __init__(self, url: str, metrics: RelayMetrics, leads: asyncio.Event) -> None:
        self._url = url
        self._metrics = metrics
        self._leads = leads
        self._prune_at = 0.0
        self._failures = Episode(log, "housekeeping")
        self._outbox_check = LastCheck("the outbox was not read yet", max_age_seconds=MAX_AGE_SECONDS)

    def outbox_check(self) -> Check:
        """Return whether the oldest event of the outbox is young; a relay that stands by does not read it."""
        if not self._leads.is_set():
            return Check(is_ok=True, detail="the relay that leads reads the outbox")
        return self._outbox_check()

    async def run(self) -> None:
        """Work until cancelled; what fails is logged, and tried again."""
        while True:
            await self._leads.wait()
            try:
                await self._work()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._failures.failed(type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _work(self) -> None:
        """Use one connection until it fails, or another relay leads."""
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await Connection.connect(self._url, **connection_options("housekeeping"))
        # A kept plan would be that of an empty table, long after an outage has filled it.
        connection.prepare_threshold = None
        try:
            await _execute(
                connection, "SELECT set_config('statement_timeout', %(time)s, false)", time=STATEMENT_TIMEOUT
            )
            measure_at = 0.0
            while self._leads.is_set():
                now = time.monotonic()
                if now >= measure_at:
                    measure_at = now + MEASURE_SECONDS
                    await self._measure(connection)
                    self._failures.ended()
                if now >= self._prune_at:
                    # Before the statement: one that fails is tried again no sooner.
                    self._prune_at = now + PRUNE_SECONDS
                    if await self._prune(connection) == PRUNE_LIMIT:
                        self._prune_at = now + PRUNE_PAUSE_SECONDS
                await asyncio.sleep(min(measure_at, self._prune_at) - time.monotonic())
        finally:
            await connection.close()

    async def _measure(self, connection: Connection) -> None:
        row = await (await _execute(connection, _OLDEST)).fetchone()
        oldest_seconds = 0.0 if row is None else row[0]
        self._metrics.oldest_seconds.set(oldest_seconds)
        detail = "the outbox is empty" if row is None else f"the oldest event has waited {oldest_seconds:.1f} s"
        self._outbox_check.set(Check(is_ok=oldest_seconds <= OLD_EVENT_SECONDS, detail=detail))
        ((pending,),) = await (await _execute(connection, _COUNT, limit=COUNT_LIMIT)).fetchall()
        self._metrics.pending.set(pending)

    async def _prune(self, connection: Connection) -> int:
        """Delete up to PRUNE_LIMIT expired keys; return how many there were."""
        pruned = (await _execute(connection, _PRUNE, limit=PRUNE_LIMIT)).rowcount
        log.info("idempotency_keys_pruned", count=pruned)
        return pruned


async def _execute(
    connection: Connection, query: LiteralString, **values: object
) -> psycopg.AsyncCursor[tuple[Any, ...]]:
    async with asyncio.timeout(ANSWER_SECONDS):
        return await connection.execute(query, values)
