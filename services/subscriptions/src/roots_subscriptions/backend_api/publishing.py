"""Publishing for back ends: batches of events to JetStream, pipelined, each acknowledgement awaited.

The events of a batch are sent in their order over one connection, so they are stored in that order; one that fails does
not hold back those after it. May import: nats, roots.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import APIError, NoStreamResponseError

from roots.contracts.events import Event, headers_of
from roots.contracts.subjects import EVENTS_STREAM, subject_of
from roots.runtime import logs
from roots.tracing.tracing import Tracing
from roots_subscriptions.grants.writes import Writes
from roots_subscriptions.metrics import Metrics

# JetStream syncs each event to disk before it acknowledges: a batch of a thousand takes a second or so.
BATCH_SECONDS = 8.0
# Of all batches together. JetStream refuses what it has not got room for, at 10,000 for a stream.
MAX_IN_FLIGHT = 4000
# What was in flight when the connection broke is never acknowledged; this often it is looked whether it did.
_LOOK_SECONDS = 0.2
_BAD_REQUEST = 400

Reason = Literal["unavailable", "unknown", "refused"]
"""Why an event may be missing: it was not stored for now; it has no answer, and may be stored; it will not be taken."""

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An event is in the stream, at `seq`; is_repeat when it was there before, under the same id."""

    seq: int
    is_repeat: bool

    @property
    def outcome(self) -> str:
        """Its name in metrics, traces and audit lines."""
        return "repeated" if self.is_repeat else "stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An event was not acknowledged. Publishing it again, with the same id, is of use unless it was refused."""

    reason: Reason

    @property
    def outcome(self) -> str:
        """Its name in metrics, traces and audit lines."""
        return self.reason

    @property
    def is_retryable(self) -> bool:
        """Whether another try may fare better."""
        return self.reason != "refused"


Result = Stored | Failed


class EventPublisher:
    """Publishes batches. Its coroutines run on the event loop of the client that `client` returns."""

    def __init__(self, client: Callable[[], Client], writes: Writes, metrics: Metrics, tracing: Tracing) -> None:
        self._client = client
        self._writes = writes
        self._metrics = metrics
        self._tracing = tracing
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._context: tuple[Client, JetStreamContext] | None = None

    async def publish(self, events: Sequence[Event]) -> list[Result]:
        """Publish `events` and return what became of each, in the same order, within BATCH_SECONDS.

        Errors: BrokerUnavailableError when NATS is away, and nothing was sent.
        """
        client = self._client()
        deadline = time.monotonic() + BATCH_SECONDS
        acks: list[asyncio.Future[PubAck]] = []
        with self._metrics.broker_operation("publish"), self._tracing.publish(events) as publishing:
            try:
                reconnects = client.stats["reconnects"]
                await self._send(client, publishing.events, acks, deadline)
                while not all(ack.done() for ack in acks):
                    is_broken = not client.is_connected or client.stats["reconnects"] != reconnects
                    if is_broken or time.monotonic() >= deadline:
                        break
                    await asyncio.wait(acks, timeout=_LOOK_SECONDS)
                results = [_result_of(ack) for ack in acks]
            finally:
                for ack in acks:
                    ack.cancel()
            results += [Failed(reason="unavailable")] * (len(events) - len(acks))
            for result in results:
                self._note(result)
            publishing.end((result.outcome, isinstance(result, Stored)) for result in results)
        return results

    def _note(self, result: Result) -> None:
        """Note whether the stream takes events. One that it will never take shows nothing, nor does a repeat."""
        if isinstance(result, Failed) and result.is_retryable:
            self._writes.note(EVENTS_STREAM, is_stored=False)
        elif isinstance(result, Stored) and not result.is_repeat:
            self._writes.note(EVENTS_STREAM, is_stored=True)

    async def _send(
        self, client: Client, events: Sequence[Event], acks: list[asyncio.Future[PubAck]], deadline: float
    ) -> None:
        """Send `events`, and add the future of each that was sent to `acks`; stop when NATS is away or too slow."""
        js = self._jetstream(client)
        for event in events:
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await self._slots.acquire()
            except TimeoutError:
                return
            try:
                ack = await js.publish_async(
                    subject_of(event.path), event.message, stream=EVENTS_STREAM, headers=headers_of(event)
                )
            except (nats.errors.Error, OSError) as error:
                self._slots.release()
                log.warning("publish_interrupted", error=type(error).__name__, sent=len(acks), of=len(events))
                return
            except BaseException:
                self._slots.release()
                raise
            ack.add_done_callback(lambda _: self._slots.release())
            acks.append(ack)

    def _jetstream(self, client: Client) -> JetStreamContext:
        """Return the context of `client`, always the same: each has a subscription of its own for acknowledgements."""
        if self._context is None or self._context[0] is not client:
            # Its own bound never gives back the place of a publish that raised; ours does.
            self._context = client, client.jetstream(publish_async_max_pending=1 << 30)
        return self._context[1]


def _result_of(ack: "asyncio.Future[PubAck]") -> Result:
    if not ack.done():
        return Failed(reason="unknown")
    error = ack.exception()
    if error is None:
        return Stored(seq=ack.result().seq, is_repeat=bool(ack.result().duplicate))
    if isinstance(error, NoStreamResponseError):
        return Failed(reason="unavailable")
    if isinstance(error, APIError):
        log.warning("publish_refused", code=error.code, err_code=error.err_code)
        return Failed(reason="refused" if error.code == _BAD_REQUEST else "unavailable")
    log.error("publish_failed", error=type(error).__name__)
    return Failed(reason="unknown")
