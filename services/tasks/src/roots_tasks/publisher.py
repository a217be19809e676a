"""The relay's side of NATS: publishes events and tells what became of each, and knows whether the stream takes events.

Promises: events that are published together share one round trip, and many of them one sync of the server's disk;
whatever fails meanwhile, each gets an outcome. May import: nats, roots.
"""

import asyncio
import enum
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import Header

from roots.contracts import subjects
from roots.contracts.events import MAX_MESSAGE_BYTES, Event, headers_of
from roots.http.health import Check, LastCheck
from roots.nats import broker
from roots.nats.broker import BrokerConfig
from roots.runtime import logs
from roots.tracing.tracing import OFF, Tracing
from roots_tasks.metrics import RelayMetrics
from roots_tasks.tasks import PATH

ACK_SECONDS = 5.0
# So many events are published as one batch. It syncs the server's disk four times, and makes and removes files: as much
# work as some twenty events by themselves, each of which is synced. Measured in docs/adr/0004.
BATCH_FROM = 24
PROBE_SECONDS = 1.0
# Longer than two probes without an answer, with the pauses after them.
MAX_AGE_SECONDS = 5.0
# JetStream's code for a message that it will refuse again. Source: nats-server errors.json.
_BAD_REQUEST = 400
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


KEPT = frozenset({Outcome.STORED, Outcome.DUPLICATE})
"""The outcomes after which the stream has the event."""


class _Refusal(msgspec.Struct):
    code: int
    description: str = ""


class _Ack(msgspec.Struct):
    """What JetStream answers to a publish; `count` tells how many messages an atomic batch had."""

    duplicate: bool = False
    count: int = 0
    error: _Refusal | None = None


_NOBODY = _Ack(error=_Refusal(code=503, description="nobody keeps events"))


class _Flight:
    """Messages under way together; `landed` is done once each awaited answer has come, or none is awaited any more."""

    def __init__(self, number: int, awaited: int) -> None:
        self.number = number
        self.answers: dict[int, _Ack] = {}
        self.landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited = awaited

    def take(self, index: int, ack: _Ack) -> None:
        """Note the answer to message `index`."""
        self.answers[index] = ack
        if len(self.answers) == self._awaited:
            self.give_up()

    def give_up(self) -> None:
        """Await no more answers."""
        if not self.landed.done():
            self.landed.set_result(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """An event as it goes out; its answer is awaited as number `index`, None for no answer."""

    index: int | None
    subject: str
    payload: bytes
    headers: dict[str, str]


class Publisher:
    """One connection to NATS, kept up by `run`; `changed` is set when another try may fare better than the last."""

    def __init__(self, config: BrokerConfig, metrics: RelayMetrics, tracing: Tracing = OFF) -> None:
        self._config = config
        self._metrics = metrics
        self._tracing = tracing
        for outcome in Outcome:
            metrics.published.labels(outcome.value)
        self.changed = asyncio.Event()
        self._client: Client | None = None
        self._inbox = ""
        self._flight: _Flight | None = None
        self._flights = 0
        self._stream_check = LastCheck("the stream was not asked yet", max_age_seconds=MAX_AGE_SECONDS)

    async def run(self) -> None:
        """Connect, and look every second whether the stream takes events, until cancelled."""
        try:
            while True:
                if self._client is None or self._client.is_closed:
                    # nats-py closes a client for good when its password is refused; a new one may fare better.
                    self._client = await self._connect()
                await self._probe(self._client)
                await asyncio.sleep(PROBE_SECONDS)
        finally:
            if self._client is not None:
                await self._client.close()

    async def publish(self, events: Sequence[Event]) -> list[Outcome]:
        """Publish `events` at once, and return the outcome of each once all are known; one call at a time.

        Units: an acknowledgement is awaited for ACK_SECONDS, and not at all once the connection is another one.
        """
        started = time.perf_counter()
        with self._tracing.publish(events) as publishing:
            events = publishing.events
            outcomes = await self._publish_batch(events) if len(events) >= BATCH_FROM else None
            if outcomes is None:
                outcomes = await self._publish_each(events)
            publishing.end((outcome.value, outcome in KEPT) for outcome in outcomes)
        for outcome, count in Counter(outcomes).items():
            self._metrics.published.labels(outcome.value).inc(count)
        if Outcome.FAILED not in outcomes:
            self._metrics.publish_seconds.observe(time.perf_counter() - started)
        return outcomes

    def broker_check(self) -> Check:
        """Return whether NATS is connected."""
        if self._client is not None and self._client.is_connected:
            return Check(is_ok=True, detail="NATS is connected")
        return Check(is_ok=False, detail="NATS is not connected; trying again")

    def stream_check(self) -> Check:
        """Return whether the stream answered the last probe."""
        return self._stream_check()

    async def _connect(self) -> Client:
        client = await broker.connect(self._config, on_reconnect=self._reconnected)
        self._inbox = client.new_inbox()
        await client.subscribe(f"{self._inbox}.>", cb=self._answered)
        return client

    async def _publish_batch(self, events: Sequence[Event]) -> list[Outcome] | None:
        """Publish `events` as one atomic batch: all are stored with one sync to disk, or none.

        None when it was refused: a single event can be the reason, as one that is stored already. Source: nats-server
        ADR-50.
        """
        batch = uuid.uuid4().hex
        messages = []
        for number, event in enumerate(events, start=1):
            subject = self._subject_of(event)
            if subject is None:
                return None
            headers = _headers_of(event) | {Header.BATCH_ID: batch, Header.BATCH_SEQUENCE: str(number)}
            messages.append(_Message(index=None, subject=subject, payload=event.message, headers=headers))
        last = messages[-1]
        messages[-1] = replace(last, index=0, headers=last.headers | {Header.BATCH_COMMIT: "1"})
        answers = await self._fly(messages)
        if not answers:
            return [Outcome.FAILED] * len(events)
        if answers[0].error is None and answers[0].count == len(events):
            return [Outcome.STORED] * len(events)
        reason = answers[0].error.description if answers[0].error else "the server knows no batches"
        log.info("batch_refused", events=len(events), reason=reason)
        return None

    async def _publish_each(self, events: Sequence[Event]) -> list[Outcome]:
        """Publish each of `events` by itself, all at once."""
        outcomes = [Outcome.REFUSED] * len(events)
        messages = []
        for index, event in enumerate(events):
            subject = self._subject_of(event)
            if subject is None:
                log.error("publish_refused", event_id=event.event_id, reason="its path or its size")
                continue
            headers = _headers_of(event)
            messages.append(_Message(index=index, subject=subject, payload=event.message, headers=headers))
            outcomes[index] = Outcome.FAILED
        for index, ack in (await self._fly(messages)).items():
            outcomes[index] = _outcome_of(ack)
            if outcomes[index] is Outcome.REFUSED and ack.error is not None:
                log.error("publish_refused", event_id=events[index].event_id, reason=ack.error.description)
        return outcomes

    async def _fly(self, messages: Sequence[_Message]) -> dict[int, _Ack]:
        """Send `messages`, and return the answers that came, by index."""
        self._flights += 1
        flight = self._flight = _Flight(self._flights, sum(message.index is not None for message in messages))
        try:
            async with asyncio.timeout(ACK_SECONDS):
                for message in messages:
                    await self._send(flight, message)
                if messages:
                    await flight.landed
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.debug("publish_failed", error=type(error).__name__)
        finally:
            self._flight = None
        return flight.answers

    async def _send(self, flight: _Flight, message: _Message) -> None:
        if self._client is None:
            raise nats.errors.ConnectionClosedError
        reply = "" if message.index is None else f"{self._inbox}.{flight.number}.{message.index}"
        await self._client.publish(message.subject, message.payload, reply, message.headers)

    async def _answered(self, message: Msg) -> None:
        """Take an answer; what belongs to messages that were given up is dropped."""
        *_, number, index = message.subject.split(".")
        flight = self._flight
        if flight is None or int(number) != flight.number:
            return
        # Only a status has headers: nobody keeps what was published.
        ack = msgspec.json.decode(message.data, type=_Ack) if message.headers is None else _NOBODY
        flight.take(int(index), ack)

    def _subject_of(self, event: Event) -> str | None:
        """Return where `event` goes, None for one that the stream can't take."""
        try:
            subject = subjects.subject_of(event.path)
        except subjects.InvalidPathError:
            return None
        return subject if len(event.message) <= MAX_MESSAGE_BYTES else None

    async def _probe(self, client: Client) -> None:
        before = self._stream_check.found
        check = await _look(client)
        self._stream_check.set(check)
        if before.is_ok != check.is_ok:
            log.info("stream_changed", is_ok=check.is_ok, detail=check.detail)
            self.changed.set()

    async def _reconnected(self) -> None:
        if self._flight is not None:
            # What answered on the old connection is lost with it.
            self._flight.give_up()
        self.changed.set()


async def _look(client: Client) -> Check:
    """Publish what the stream must refuse: its refusal shows that a real event would reach it.

    Reading the stream's state would need a permission that the relay has no other use for.
    """
    try:
        await client.jetstream().publish(subjects.subject_of(PATH), timeout=PROBE_SECONDS, stream=_NO_STREAM)
    except nats.js.errors.NoStreamResponseError:
        detail = f"nobody answers for the stream {subjects.EVENTS_STREAM}: it has no leader, or was not provisioned"
        return Check(is_ok=False, detail=detail)
    except nats.js.errors.APIError as error:
        if error.err_code != _STREAM_NOT_MATCH:
            return Check(is_ok=False, detail=f"the stream answers {error.description}")
    except (nats.errors.Error, OSError, TimeoutError):
        return Check(is_ok=False, detail="the stream does not answer")
    return Check(is_ok=True, detail="the stream takes events")


def _headers_of(event: Event) -> dict[str, str]:
    return headers_of(event) | {Header.EXPECTED_STREAM: subjects.EVENTS_STREAM}


def _outcome_of(ack: _Ack) -> Outcome:
    if ack.error is None:
        return Outcome.DUPLICATE if ack.duplicate else Outcome.STORED
    return Outcome.REFUSED if ack.error.code == _BAD_REQUEST else Outcome.FAILED
