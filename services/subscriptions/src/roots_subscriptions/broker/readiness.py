"""Whether subscriptions can do its work: NATS is connected, and its streams exist and take what is written."""

import asyncio
from collections.abc import Callable, Mapping

from nats.aio.client import Client

from roots.contracts.subjects import EVENTS_STREAM, GRANTS_STREAM
from roots.http.health import Check, LastCheck
from roots.nats.clock import ClockCheck
from roots.nats.reader import JetStreamReader
from roots.nats.streams import NatsUnavailableError
from roots.runtime import logs
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.grants.write_health import STREAM_NAMES
from roots_subscriptions.metrics import Metrics

# Soon after provisioning the service is ready; afterwards the answer is only a confirmation.
UNREADY_INTERVAL_SECONDS = 0.25
READY_INTERVAL_SECONDS = 2.0
# Longer than a round of looks that are all not answered, with the pause before it.
MAX_AGE_SECONDS = 8.0

_LABELS = {EVENTS_STREAM: "events", GRANTS_STREAM: "grants"}

log = logs.get(__name__)


class BrokerReadiness:
    """Asks NATS now and then, so that a readiness probe is answered from memory.

    Shape: checks are the readiness checks by their names.
    """

    def __init__(self, store: GrantStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._clock = ClockCheck()
        self._streams = {
            stream: LastCheck(f"waits for {name} (not asked yet)", max_age_seconds=MAX_AGE_SECONDS)
            for stream, name in STREAM_NAMES.items()
        }
        self.checks: Mapping[str, Callable[[], Check]] = {
            "clock": self._clock.check,
            "bucket": self._streams[GRANTS_STREAM],
            "stream": self._streams[EVENTS_STREAM],
            "writes": store.write_health.check,
        }

    async def watch(self, client: Client) -> None:
        """Look again and again until `client` is closed."""
        while not client.is_closed:
            for stream in STREAM_NAMES:
                await self._look(client, stream)
            if self._store.write_health.has_bucket_failed:
                await self._try_write()
            checks = [self._store.write_health.check(), *(check.found for check in self._streams.values())]
            is_ready = all(check.is_ok for check in checks)
            await asyncio.sleep(READY_INTERVAL_SECONDS if is_ready else UNREADY_INTERVAL_SECONDS)

    async def _look(self, client: Client, stream: str) -> None:
        check = self._streams[stream]
        try:
            state = await JetStreamReader(client, stream).state()
        except NatsUnavailableError as error:
            if check.found.is_ok:
                log.warning("stream_missing", stream=stream, detail=str(error))
            check.set(Check(is_ok=False, detail=f"waits for {STREAM_NAMES[stream]} ({error})"))
        else:
            check.set(Check(is_ok=True, detail=f"{STREAM_NAMES[stream]} exists"))
            # The leader of the other stream may have a clock of its own: the bucket's is the one that counts.
            if stream == GRANTS_STREAM:
                self._clock.note(state.skew_seconds)
                self._metrics.clock_skew_seconds.set(state.skew_seconds)
            self._metrics.stream_bytes.labels(_LABELS[stream]).set(state.bytes)
            self._metrics.stream_limit_bytes.labels(_LABELS[stream]).set(state.limit_bytes)
            self._metrics.stream_messages.labels(_LABELS[stream]).set(state.messages)

    async def _try_write(self) -> None:
        try:
            await self._store.try_write()
        except BrokerUnavailableError as error:
            log.debug("bucket_refuses_writes", reason=error.reason)
