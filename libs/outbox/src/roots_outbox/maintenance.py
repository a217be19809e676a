"""The relay's work beside delivery: it measures the outbox, and runs what else its user wants done now and then.

Promises: delivery never waits for it. It has a connection and failures of its own. May import: database, metrics.
"""

import asyncio
import time

from roots.http.health import Check, LastCheck
from roots.runtime import logs
from roots.runtime.episodes import Episode
from roots_outbox.database import Database, Session
from roots_outbox.metrics import RelayMetrics

MEASURE_SECONDS = 1.0
RETRY_SECONDS = 2.0
# A job that failed is run again so much later.
RETRY_JOB_SECONDS = 600.0
CONNECT_SECONDS = 5.0
# Longer than a failed look with the next try takes.
MAX_AGE_SECONDS = 10.0
# Up to so many events are counted.
COUNT_LIMIT = 10_000
# An event that waits for longer is reported to the operator.
OLD_EVENT_SECONDS = 10.0

log = logs.get(__name__)


class Maintenance:
    """Works while `leads` is set, and rests while another relay leads."""

    def __init__(self, database: Database, metrics: RelayMetrics, leads: asyncio.Event) -> None:
        self._database = database
        self._metrics = metrics
        self._leads = leads
        self._due_at: dict[int, float] = {}
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
            except self._database.errors as error:
                self._failures.failed(type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _run_maintenance(self) -> None:
        """Use one connection until it fails, or another relay leads."""
        async with asyncio.timeout(CONNECT_SECONDS):
            session = await self._database.open_session()
        next_measure = 0.0
        try:
            while self._leads.is_set():
                if (now := time.monotonic()) >= next_measure:
                    await self._measure(session)
                    next_measure = now + MEASURE_SECONDS
                for number, job in enumerate(session.jobs):
                    if (now := time.monotonic()) >= self._due_at.get(number, 0.0):
                        # Before the run: one that fails is tried again no sooner.
                        self._due_at[number] = now + RETRY_JOB_SECONDS
                        self._due_at[number] = now + await job()
                await asyncio.sleep(min([next_measure, *self._due_at.values()]) - time.monotonic())
        finally:
            await session.close()

    async def _measure(self, session: Session) -> None:
        age_seconds, pending = await session.measure(COUNT_LIMIT)
        oldest_seconds = age_seconds or 0.0
        self._metrics.oldest_seconds.set(oldest_seconds)
        self._metrics.pending.set(pending)
        detail = "the outbox is empty" if age_seconds is None else f"the oldest event has waited {oldest_seconds:.1f} s"
        self._outbox_check.set(Check(is_ok=oldest_seconds <= OLD_EVENT_SECONDS, detail=detail))
        self._failures.ended()
