"""The relay's side of NATS: publishes an event and tells what became of it, and knows whether the stream takes events.

May import: nats, roots_common.
"""

import asyncio
import enum
import time

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from roots_common import broker, logs, subjects
from roots_common.broker import BrokerConfig
from roots_common.events import MAX_MESSAGE_BYTES, Event, headers_of
from roots_common.health import Check
from roots_tasks.metrics import RelayMetrics
from roots_tasks.tasks import PATH

ACK_SECONDS = 5.0
PROBE_SECONDS = 1.0
# JetStream's error for a message that expects another stream than the one it reached. Source: nats-server errors.json.
_STREAM_NOT_MATCH = 10060
_NO_STREAM = "-"

log = logs.get(__name__)


class Outcome(enum.Enum):
    """What became of a publish; the value is its metric label."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    """The stream, or a rule of ours, will refuse this event again: only its own task waits for it."""
    FAILED = "failed"
    """No answer; it may have been stored. The same event id makes another try safe."""


class Publisher:
    """One connection to NATS, kept up by `run`; `changed` is set when another try may fare better than the last."""

    def __init__(self, config: BrokerConfig, metrics: RelayMetrics) -> None:
        self._config = config
        self._metrics = metrics
        self.changed = asyncio.Event()
        self._client: Client | None = None
        self._stream_check = Check(is_ok=False, detail="the stream was not asked yet")

    async def run(self) -> None:
        """Connect, and look every second whether the stream takes events, until cancelled."""
        try:
            while True:
                if self._client is None or self._client.is_closed:
                    # nats-py closes a client for good when its password is refused; a new one may fare better.
                    self._client = await broker.connect(self._config, on_reconnect=self._reconnected)
                await self._probe(self._client)
                await asyncio.sleep(PROBE_SECONDS)
        finally:
            if self._client is not None:
                await self._client.close()

    async def publish(self, event: Event) -> Outcome:
        """Publish `event` and wait for its acknowledgement."""
        started = time.perf_counter()
        outcome = await self._publish(event)
        self._metrics.published.labels(outcome.value).inc()
        if outcome in (Outcome.STORED, Outcome.DUPLICATE):
            self._metrics.publish_seconds.observe(time.perf_counter() - started)
        return outcome

    def broker_check(self) -> Check:
        """Return whether NATS is connected."""
        if self._client is not None and self._client.is_connected:
            return Check(is_ok=True, detail="NATS is connected")
        return Check(is_ok=False, detail="NATS is not connected; trying again")

    def stream_check(self) -> Check:
        """Return whether the stream answered the last probe."""
        return self._stream_check

    async def _publish(self, event: Event) -> Outcome:
        if self._client is None:
            return Outcome.FAILED
        try:
            subject = subjects.subject_of(event.path)
            if len(event.message) > MAX_MESSAGE_BYTES:
                return self._refuse(event, f"it has more than {MAX_MESSAGE_BYTES} bytes")
            ack = await self._client.jetstream().publish(
                subject,
                event.message,
                timeout=ACK_SECONDS,
                stream=subjects.EVENTS_STREAM,
                headers=headers_of(event),
            )
        except (subjects.InvalidPathError, nats.js.errors.BadRequestError) as error:
            return self._refuse(event, str(error))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.debug("publish_failed", event_id=event.event_id, error=type(error).__name__)
            return Outcome.FAILED
        return Outcome.DUPLICATE if ack.duplicate else Outcome.STORED

    def _refuse(self, event: Event, reason: str) -> Outcome:
        log.error("publish_refused", event_id=event.event_id, reason=reason)
        return Outcome.REFUSED

    async def _probe(self, client: Client) -> None:
        """Publish what the stream must refuse: its refusal shows that a real event would reach it.

        Reading the stream's state would need a permission that the relay has no other use for.
        """
        before = self._stream_check
        try:
            await client.jetstream().publish(subjects.subject_of(PATH), timeout=PROBE_SECONDS, stream=_NO_STREAM)
        except nats.js.errors.NoStreamResponseError:
            detail = f"nobody answers for the stream {subjects.EVENTS_STREAM}: it has no leader, or was not provisioned"
            self._stream_check = Check(is_ok=False, detail=detail)
        except nats.js.errors.APIError as error:
            is_ok = error.err_code == _STREAM_NOT_MATCH
            detail = "the stream takes events" if is_ok else f"the stream answers {error.description}"
            self._stream_check = Check(is_ok=is_ok, detail=detail)
        except (nats.errors.Error, OSError, TimeoutError):
            self._stream_check = Check(is_ok=False, detail="the stream does not answer")
        if before.is_ok != self._stream_check.is_ok:
            log.info("stream_changed", is_ok=self._stream_check.is_ok, detail=self._stream_check.detail)
            self.changed.set()

    async def _reconnected(self) -> None:
        self.changed.set()
