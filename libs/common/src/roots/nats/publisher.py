"""Publishes events to the event stream over one client, and reports the outcome of each.

The events of a call are sent in their order before the first answer is awaited, so they share one round trip. nats-py's
own `publish_async` is not used: its future is never done when JetStream answers with code 503, as a full stream does.
May import: nats, roots.
"""

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import Sequence
from typing import Self

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import Header

from roots.contracts.events import MAX_MESSAGE_BYTES, Event, Outcome, Published, headers_of
from roots.contracts.subjects import EVENTS_STREAM, InvalidPathError, subject_of
from roots.runtime import logs

# Of all calls together: JetStream drops what it has no room for, at 10,000 for a stream.
MAX_IN_FLIGHT = 4000
# No answer comes to what was in flight when the connection ended; the connection is looked at so often.
_LOOK_SECONDS = 0.2
# JetStream's code for a message that it will refuse again. Source: nats-server errors.json.
_BAD_REQUEST = 400

log = logs.get(__name__)


class _Error(msgspec.Struct):
    code: int
    description: str = ""


class _Ack(msgspec.Struct):
    """JetStream's answer to a publish; `count` is the number of messages in an atomic batch."""

    seq: int = 0
    duplicate: bool = False
    count: int = 0
    error: _Error | None = None

    def published(self) -> Published:
        """Return what became of the event."""
        if self.error is None:
            return Published(Outcome.REPEATED if self.duplicate else Outcome.STORED, self.seq)
        return Published(Outcome.REFUSED if self.error.code == _BAD_REQUEST else Outcome.UNAVAILABLE)


_NO_STREAM = _Ack(error=_Error(code=503, description="no stream stores events"))


class _Message(msgspec.Struct):
    """An event as it is sent."""

    subject: str
    payload: bytes
    headers: dict[str, str]
    is_answered: bool


class PendingBatch:
    """Messages under way together; `done` is set once `awaited` of them are answered."""

    def __init__(self) -> None:
        self.answers: dict[int, _Ack] = {}
        self.sent = 0
        self.awaited: int | None = None
        self.done = asyncio.Event()

    def check_done(self) -> None:
        """Set `done` when no more answers are awaited."""
        if len(self.answers) == self.awaited:
            self.done.set()

    def result(self, position: int) -> Published:
        """Return what became of the message at `position`."""
        if (ack := self.answers.get(position)) is not None:
            return ack.published()
        return Published(Outcome.UNKNOWN if position < self.sent else Outcome.UNAVAILABLE)


class Publisher:
    """Publishes over `client`. Any number of calls may run at the same time."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._inbox = client.new_inbox()
        self._pending: dict[int, PendingBatch] = {}
        self._numbers = itertools.count(1)
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)

    @classmethod
    async def open(cls, client: Client) -> Self:
        """Return a publisher that has subscribed to the answers. Errors: nats.errors.Error."""
        publisher = cls(client)
        await client.subscribe(f"{publisher._inbox}.>", cb=publisher._take_answer)
        return publisher

    async def publish(self, events: Sequence[Event], *, seconds: float) -> list[Published]:
        """Publish each of `events` by itself, and return what became of each, in the same order.

        Units: answers are awaited for `seconds`, and no longer once the connection has ended.
        """
        results = [Published(Outcome.REFUSED)] * len(events)
        messages = {index: message for index, event in enumerate(events) if (message := _message_of(event)) is not None}
        batch = await self._publish_and_wait(list(messages.values()), seconds)
        reasons = dict.fromkeys(range(len(events)), "its path or its size")
        for position, index in enumerate(messages):
            results[index] = batch.result(position)
            ack = batch.answers.get(position)
            reasons[index] = "it was not sent" if ack is None or ack.error is None else ack.error.description
        for index, result in enumerate(results):
            if result.outcome is Outcome.REFUSED:
                log.error("publish_refused", event_id=events[index].event_id, reason=reasons[index])
        unavailable = {reasons[index] for index, result in enumerate(results) if result.outcome is Outcome.UNAVAILABLE}
        if unavailable:
            log.warning("publish_unavailable", reasons=sorted(unavailable))
        return results

    async def publish_atomically(self, events: Sequence[Event], *, seconds: float) -> Outcome | None:
        """Publish `events` as one batch, and return what became of all: the server stores all with one sync, or none.

        None when the batch was refused: a single event can be the reason, as one that is stored already. Source:
        nats-server ADR-50.
        """
        batch_id, messages = uuid.uuid4().hex, []
        for number, event in enumerate(events, start=1):
            message = _message_of(event, {Header.BATCH_ID: batch_id, Header.BATCH_SEQUENCE: str(number)})
            if message is None:
                return None
            messages.append(message)
        messages[-1].headers[Header.BATCH_COMMIT] = "1"
        messages[-1].is_answered = True
        batch = await self._publish_and_wait(messages, seconds)
        ack = batch.answers.get(len(events) - 1)
        if ack is None:
            return batch.result(len(events) - 1).outcome
        if ack.error is None and ack.count == len(events):
            return Outcome.STORED
        reason = ack.error.description if ack.error else "the server knows no batches"
        log.info("batch_refused", events=len(events), reason=reason)
        return None

    async def _publish_and_wait(self, messages: Sequence[_Message], seconds: float) -> PendingBatch:
        """Send `messages`, and return them with the answers that came in time."""
        number, batch = next(self._numbers), PendingBatch()
        self._pending[number] = batch
        reconnects = self.client.stats["reconnects"]
        try:
            async with asyncio.timeout(seconds):
                await self._send(number, batch, messages)
                batch.awaited = sum(message.is_answered for message in messages[: batch.sent])
                batch.check_done()
                while not batch.done.is_set() and self.client.is_connected:
                    if self.client.stats["reconnects"] != reconnects:
                        break
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_SECONDS):
                            await batch.done.wait()
        except TimeoutError:
            log.debug("publish_timeout", answers=len(batch.answers), sent=batch.sent)
        finally:
            del self._pending[number]
            for _ in range(batch.sent - len(batch.answers)):
                self._slots.release()
        return batch

    async def _send(self, number: int, batch: PendingBatch, messages: Sequence[_Message]) -> None:
        for position, message in enumerate(messages):
            await self._slots.acquire()
            # Before the call: when that is cancelled, the message may be sent nevertheless.
            batch.sent += 1
            reply = f"{self._inbox}.{number}.{position}" if message.is_answered else ""
            try:
                await self.client.publish(message.subject, message.payload, reply, message.headers)
            except (nats.errors.Error, OSError) as error:
                batch.sent -= 1
                self._slots.release()
                log.warning("publish_interrupted", error=type(error).__name__, sent=batch.sent, of=len(messages))
                return

    async def _take_answer(self, message: Msg) -> None:
        """Take an answer; one to a batch that is over is dropped."""
        *_, number, position = message.subject.split(".")
        batch = self._pending.get(int(number))
        if batch is None or int(position) in batch.answers:
            return
        # Only a status has headers: no stream stores what was published.
        ack = msgspec.json.decode(message.data, type=_Ack) if message.headers is None else _NO_STREAM
        batch.answers[int(position)] = ack
        batch.check_done()
        self._slots.release()


def _message_of(event: Event, batch_headers: dict[str, str] | None = None) -> _Message | None:
    """Return `event` as it is sent, by itself or in a batch; None for one that the stream can't take."""
    try:
        subject = subject_of(event.path)
    except InvalidPathError:
        return None
    if len(event.message) > MAX_MESSAGE_BYTES:
        return None
    headers = headers_of(event) | {Header.EXPECTED_STREAM: EVENTS_STREAM, **(batch_headers or {})}
    return _Message(subject, event.message, headers, is_answered=batch_headers is None)
