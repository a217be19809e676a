"""The relay: moves every committed event from the outbox to the sink, in order per ordering key, and then deletes it.

Promises: an event leaves the outbox only after the sink has acknowledged it (I11). Events of one ordering key are kept
in commit order (I2): one relay publishes at a time, and a later event waits for the earlier one's acknowledgement. An
event that is published twice, after a crash or a lost acknowledgement, has the same id, and the sink drops the repeat.
May import: database, delivery, sink, metrics. Source: docs/protocol.md, NATS.
"""

import asyncio
from contextlib import suppress

from roots.http.health import Check, LastCheck
from roots.runtime import logs
from roots.tracing.tracing import Tracing
from roots_outbox.database import Database, Leadership, Outbox
from roots_outbox.delivery import Delivery
from roots_outbox.metrics import RelayMetrics
from roots_outbox.sink import Sink

# How often a standby tries for the lock, and a relay without its database to connect.
RETRY_SECONDS = 1.0
CONNECT_SECONDS = 5.0
# The database is asked every second; a frozen one answers nothing, and a statement is given up only later.
MAX_AGE_SECONDS = 4.0

log = logs.get(__name__)


class Relay:
    """One candidate for publishing the outbox; `leads` is set while it has the lock, until then it stands by."""

    def __init__(self, database: Database, sink: Sink, metrics: RelayMetrics, tracing: Tracing) -> None:
        self._database = database
        self._sink = sink
        self._metrics = metrics
        self._tracing = tracing
        self._stopping = asyncio.Event()
        self._delivery: Delivery | None = None
        self._check = LastCheck("the database was not asked yet", max_age_seconds=MAX_AGE_SECONDS)
        self.leads = asyncio.Event()

    def stop(self) -> None:
        """Finish the batch under way, then end."""
        self._stopping.set()

    def check(self) -> Check:
        """Return whether the database answers, and whether this relay leads or stands by."""
        return self._check()

    def publish_check(self) -> Check:
        """Return whether the sink acknowledged what this relay published last."""
        if self._delivery is None:
            return Check(is_ok=True, detail="the relay that leads publishes")
        return self._delivery.check()

    async def run(self) -> None:
        """Lead or stand by until `stop`; find the database again whenever it is lost."""
        while not self._stopping.is_set():
            try:
                await self._hold_session()
            except* self._database.errors as group:
                self._note(Check(is_ok=False, detail=self._database.describe(group.exceptions[0])))
                await self._pause()

    async def _hold_session(self) -> None:
        """Use one connection for the lock and one for the work, until one of them fails or `stop`."""
        async with asyncio.timeout(CONNECT_SECONDS):
            leadership = await self._database.open_leadership()
        try:
            while not await leadership.try_acquire():
                self._note(Check(is_ok=True, detail="stands by; another relay publishes"))
                await self._pause()
                if self._stopping.is_set():
                    return
            async with asyncio.timeout(CONNECT_SECONDS):
                outbox = await self._database.open_outbox()
            try:
                await self._lead(leadership, outbox)
            finally:
                await outbox.close()
        finally:
            await leadership.close()

    async def _lead(self, leadership: Leadership, outbox: Outbox) -> None:
        """Deliver while the lock is held: when its connection ends, the group cancels the delivery at once."""
        self._delivery = delivery = Delivery(outbox, self._sink, self._metrics, self._tracing, self._stopping)
        self._note_leading()
        self._metrics.is_leader.set(1)
        self.leads.set()
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(leadership.watch(delivery.hint, self._note_leading))
                await delivery.run()
                watch.cancel()
        finally:
            self._delivery = None
            self.leads.clear()
            self._metrics.is_leader.set(0)

    def _note_leading(self) -> None:
        self._note(Check(is_ok=True, detail="leads: this relay publishes"))

    def _note(self, check: Check) -> None:
        if check != self._check.found:
            log.info("relay_changed", is_ok=check.is_ok, detail=check.detail)
        self._check.set(check)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await self._stopping.wait()
