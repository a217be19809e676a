"""Delivers the outbox: reads, publishes, then deletes and reads on in one statement; what fails stays in the table.

Promises: see relay.py. May import: database, sink, metrics.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping

from roots.contracts.events import Outcome, Published
from roots.http.health import Check
from roots.runtime import logs
from roots.tracing.tracing import Tracing
from roots_outbox.database import Outbox, Row, batches, superseded
from roots_outbox.metrics import RelayMetrics
from roots_outbox.sink import Sink

# Under way at the same time. A sink that can't take them as one batch syncs each to disk before it acknowledges it.
BATCH_LIMIT = 128
READ_LIMIT = 512
# After a read of few events the next waits for a hint, but not for long, since it deletes what was acknowledged. After
# one of many, no hint is needed: the next will find many again if it is not too soon, and many together cost less.
FEW_EVENTS = 8
LINGER_SECONDS = 0.1
PACE_SECONDS_PER_EVENT = 0.0001
MAX_PACE_SECONDS = 0.002
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_LAST_SECONDS = 5.0
# The outbox is read so often even without a hint.
POLL_SECONDS = 1.0
# How long an ordering key whose event was refused is held back, before the event is tried again.
HOLD_SECONDS = 30.0

log = logs.get(__name__)


class Delivery:
    """The work of the leading relay over one connection to the database."""

    def __init__(
        self, outbox: Outbox, sink: Sink, metrics: RelayMetrics, tracing: Tracing, stopping: asyncio.Event
    ) -> None:
        self._outbox = outbox
        self._sink = sink
        self._metrics = metrics
        self._tracing = tracing
        self._stopping = stopping
        self._hinted = asyncio.Event()
        self._failures = 0
        self._failing_since = 0.0
        self._reason = ""
        self._held_until: dict[str, float] = {}
        self._acknowledged: list[int] = []

    def hint(self) -> None:
        """Read the outbox soon."""
        self._hinted.set()

    def check(self) -> Check:
        """Return whether the sink acknowledged what was published last."""
        if self._failures == 0:
            return Check(is_ok=True, detail="what is published is acknowledged")
        seconds = time.monotonic() - self._failing_since
        return Check(is_ok=False, detail=f"no event was acknowledged for {seconds:.0f} s{self._reason}; trying again")

    async def run(self) -> None:
        """Deliver until `stopping` is set; the batch under way is finished first.

        Errors: those of the database, when it fails.
        """
        while not self._stopping.is_set():
            # Before the read: a hint that comes while it runs may be about what it did not see.
            self._hinted.clear()
            self._sink.changed.clear()
            read_at = time.monotonic()
            rows = await self._advance(READ_LIMIT)
            if not await self._deliver(rows):
                await self._wait(self._sink.changed, self._backoff_seconds())
            elif not rows:
                await self._wait(self._hinted, POLL_SECONDS)
            elif len(rows) < READ_LIMIT:
                pace_seconds = min(MAX_PACE_SECONDS, len(rows) * PACE_SECONDS_PER_EVENT)
                await asyncio.sleep(read_at + pace_seconds - time.monotonic())
                if len(rows) <= FEW_EVENTS:
                    await self._wait(self._hinted, LINGER_SECONDS)
        await self._advance(0)

    async def _advance(self, limit: int) -> list[Row]:
        """Delete what was acknowledged since the last time, and read what is next."""
        advance = await self._outbox.advance(self._acknowledged, held=self._held_keys(), limit=limit)
        self._acknowledged = advance.locked
        return advance.rows

    async def _deliver(self, rows: list[Row]) -> bool:
        """Publish `rows` in batches and note what is acknowledged; return False when the sink failed."""
        if not rows:
            # What failed last is gone, since somebody else has removed it.
            self._failures = 0
        self._acknowledged += (done := set(superseded(rows)))
        for batch in batches([row for row in rows if row.id not in done], BATCH_LIMIT):
            if self._stopping.is_set():
                return True
            results = list(zip(batch, await self._publish(batch), strict=True))
            self._acknowledged += [row.id for row, result in results if result.outcome.is_kept]
            # Each of them once: most batches have one outcome.
            outcomes = {result.outcome for _, result in results}
            refused: dict[Row, str] = {}
            if Outcome.REFUSED in outcomes:
                refused = {row: result.detail for row, result in results if result.outcome is Outcome.REFUSED}
            if refused and self._outbox.keeps_refused:
                await self._refuse(refused)
            if any(outcome.is_retryable for outcome in outcomes):
                if self._failures == 0:
                    self._failing_since = time.monotonic()
                self._failures += 1
                self._reason = next((f": {result.detail}" for _, result in results if result.detail), "")
                return False
            self._failures = 0
            if refused and not self._outbox.keeps_refused:
                # Later rows may have the same keys: read again, without them.
                self._hold([row.ordering_key for row in refused])
                return True
        return True

    async def _publish(self, batch: list[Row]) -> list[Published]:
        started = time.perf_counter()
        with self._tracing.publish([row.event for row in batch]) as publishing:
            results = await self._sink.publish(publishing.events)
            outcomes = [result.outcome for result in results]
            publishing.end((outcome.value, outcome.is_kept) for outcome in outcomes)
        counts = Counter(outcomes)
        for outcome, count in counts.items():
            self._metrics.published.labels(outcome.value).inc(count)
        if not any(outcome.is_retryable for outcome in counts):
            self._metrics.publish_seconds.observe(time.perf_counter() - started)
        return results

    async def _refuse(self, refused: Mapping[Row, str]) -> None:
        await self._outbox.refuse({row.id: detail for row, detail in refused.items()})
        for row, detail in refused.items():
            log.error("event_refused", event_id=row.event.event_id, reason=detail)

    def _hold(self, keys: list[str]) -> None:
        until = time.monotonic() + HOLD_SECONDS
        self._held_until.update(dict.fromkeys(keys, until))
        log.error("ordering_keys_held", keys=keys, seconds=HOLD_SECONDS)

    def _held_keys(self) -> list[str]:
        now = time.monotonic()
        self._held_until = {key: until for key, until in self._held_until.items() if until > now}
        return list(self._held_until)

    def _backoff_seconds(self) -> float:
        longest = min(BACKOFF_LAST_SECONDS, BACKOFF_FIRST_SECONDS * 2.0 ** min(self._failures - 1, 10))
        seconds = longest * random.uniform(0.5, 1.0)  # noqa: S311  # spreads retries, guards nothing
        log.warning("delivery_backs_off", failures=self._failures, seconds=round(seconds, 3))
        return seconds

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return when `event` or `stopping` is set, or after `seconds`."""
        waiters = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._stopping.wait())]
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
