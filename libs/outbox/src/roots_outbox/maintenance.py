"""The relay's work beside delivery: it measures the outbox, and runs what else its user wants done now and then.

Promises: delivery never waits for it. It has a connection and failures of its own, and each statement is bounded in
time. May import: psycopg, source, metrics.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg import sql

from roots.http.health import Check, LastCheck
from roots.runtime import logs
from roots.runtime.episodes import Episode
from roots_outbox.metrics import RelayMetrics
from roots_outbox.source import OutboxSource

MEASURE_SECONDS = 1.0
RETRY_SECONDS = 2.0
# A job that failed is run again so much later.
RETRY_JOB_SECONDS = 600.0
CONNECT_SECONDS = 5.0
# The server ends what takes longer; the second bound is for a server that does not answer at all.
STATEMENT_TIMEOUT = "1s"
ANSWER_SECONDS = 3.0
# Longer than a failed look with the next try takes.
MAX_AGE_SECONDS = 10.0
# Up to so many events are counted.
COUNT_LIMIT = 10_000
# An event that waits for longer is reported to the operator.
OLD_EVENT_SECONDS = 10.0

log = logs.get(__name__)

_LIMIT_STATEMENTS = "SELECT set_config('statement_timeout', %(timeout)s, false)"

# measure: the age of the event that was committed first, and how many events wait. From the limit on the extent of
# their ids stands for their number.
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


class Maintenance:
    """Works while `leads` is set, and rests while another relay leads."""

    def __init__(
        self, source: OutboxSource, metrics: RelayMetrics, leads: asyncio.Event, jobs: Sequence[Job] = ()
    ) -> None:
        self._source = source
        self._metrics = metrics
        self._leads = leads
        self._due_at: dict[Job, float] = dict.fromkeys([self._measure, *jobs], 0.0)
        self._measure_statement = sql.SQL(_MEASURE).format(table=source.table).as_bytes(None)
        self._failures = Episode(log, "maintenance")
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
                await self._run_maintenance()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._failures.failed(type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _run_maintenance(self) -> None:
        """Use one connection until it fails, or another relay leads."""
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await self._source.connect("maintenance")
        # A kept plan would be that of an empty table, long after an outage has filled it.
        connection.prepare_threshold = None

        async def execute(query: bytes, **values: object) -> psycopg.AsyncCursor[tuple[Any, ...]]:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await connection.execute(query, values)

        try:
            await execute(_LIMIT_STATEMENTS.encode(), timeout=STATEMENT_TIMEOUT)
            self._due_at[self._measure] = 0.0
            while self._leads.is_set():
                for job, due_at in self._due_at.items():
                    if (now := time.monotonic()) >= due_at:
                        # Before the run: one that fails is tried again no sooner.
                        self._due_at[job] = now + RETRY_JOB_SECONDS
                        self._due_at[job] = now + await job(execute)
                await asyncio.sleep(min(self._due_at.values()) - time.monotonic())
        finally:
            await connection.close()

    async def _measure(self, execute: Execute) -> float:
        ((age_seconds, pending),) = await (await execute(self._measure_statement, limit=COUNT_LIMIT)).fetchall()
        oldest_seconds = age_seconds or 0.0
        self._metrics.oldest_seconds.set(oldest_seconds)
        self._metrics.pending.set(pending)
        detail = "the outbox is empty" if age_seconds is None else f"the oldest event has waited {oldest_seconds:.1f} s"
        self._outbox_check.set(Check(is_ok=oldest_seconds <= OLD_EVENT_SECONDS, detail=detail))
        self._failures.ended()
        return MEASURE_SECONDS
