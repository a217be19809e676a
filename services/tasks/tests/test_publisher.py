"""How the publisher tells acknowledgements apart, without a server: each message it sends is answered by hand."""

import asyncio
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry

from roots.contracts.events import Event
from roots.nats.broker import BrokerConfig
from roots_tasks import publisher as subject
from roots_tasks.metrics import RelayMetrics
from roots_tasks.publisher import Outcome, Publisher

STORED = b'{"stream":"ROOTS_EVENTS","seq":1}'
DUPLICATE = b'{"stream":"ROOTS_EVENTS","seq":1,"duplicate":true}'


class Wire(Client):
    """A client that keeps the reply subjects of what is published, instead of sending it."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: asyncio.Queue[str] = asyncio.Queue()

    async def publish(
        self, _subject: str, _payload: bytes = b"", reply: str = "", _headers: dict[str, str] | None = None
    ) -> None:
        """Keep the reply subject."""
        self.replies.put_nowait(reply)

    def answer(self, reply: str, data: bytes, headers: dict[str, str] | None = None) -> Msg:
        """Return an answer to what was published with the subject `reply`."""
        return Msg(self, subject=reply, data=data, headers=headers)


def event(name: str) -> Event:
    """Return an event."""
    return Event(path="tasks", message=b"{}", event_id=name, committed_ns=1)


@pytest.fixture
def wire() -> Wire:
    """Make a connection."""
    return Wire()


@pytest.fixture
def publisher(wire: Wire) -> Publisher:
    """Make a publisher that is connected to `wire`."""
    made = Publisher(BrokerConfig(user="tasks", password="x"), RelayMetrics(CollectorRegistry()))
    made._client = wire
    return made


async def test_late_answer_is_not_taken_for_another_event_when_its_batch_was_given_up(
    publisher: Publisher, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: an acknowledgement counts for the event that it answers, however late it comes, never for another."""
    monkeypatch.setattr(subject, "ACK_SECONDS", 0.01)
    assert await publisher.publish([event("a")]) == [Outcome.FAILED]
    monkeypatch.setattr(subject, "ACK_SECONDS", 5.0)
    second = asyncio.create_task(publisher.publish([event("b"), event("c")]))
    reply_a, _, reply_c = [await wire.replies.get() for _ in range(3)]
    for reply in (reply_a, reply_c, reply_c):
        await publisher._answered(wire.answer(reply, STORED))
    await publisher._reconnected()
    assert await second == [Outcome.FAILED, Outcome.STORED]


@pytest.mark.parametrize(
    ("data", "headers", "outcome"),
    [
        (STORED, None, Outcome.STORED),
        (DUPLICATE, None, Outcome.DUPLICATE),
        (
            b'{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"}}',
            None,
            Outcome.REFUSED,
        ),
        (b'{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}', None, Outcome.FAILED),
        (b"", {"Status": "503"}, Outcome.FAILED),
    ],
)
async def test_outcome_is_what_the_stream_answered_when_it_answered(
    publisher: Publisher, wire: Wire, data: bytes, headers: dict[str, Any] | None, outcome: Outcome
) -> None:
    """Only what would be refused again is refused; all else that is not stored is tried again."""
    publishing = asyncio.create_task(publisher.publish([event("a")]))
    await publisher._answered(wire.answer(await wire.replies.get(), data, headers))
    assert await publishing == [outcome]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error":{"code":400,"description":"batch publish contains duplicate message id"}}',
        # A server that knows no batches has stored each, and answers the last as any other.
        STORED,
        b'{"stream":"ROOTS_EVENTS","seq":9,"batch":"x","count":2}',
    ],
)
async def test_events_are_published_one_by_one_when_their_batch_was_refused(
    publisher: Publisher, wire: Wire, answer: bytes
) -> None:
    """I11: only a batch that was stored whole counts; after any other answer each event gets an outcome of its own."""
    events = [event(str(number)) for number in range(subject.BATCH_FROM)]
    publishing = asyncio.create_task(publisher.publish(events))
    *silent, last = [await wire.replies.get() for _ in events]
    assert set(silent) == {""}
    await publisher._answered(wire.answer(last, answer))
    for _ in events:
        await publisher._answered(wire.answer(await wire.replies.get(), DUPLICATE))
    assert await publishing == [Outcome.DUPLICATE] * len(events)


async def test_batch_failed_when_it_was_not_answered(publisher: Publisher, wire: Wire) -> None:
    """I11: without an answer nothing is known of any event, so that each is tried again."""
    events = [event(str(number)) for number in range(subject.BATCH_FROM)]
    publishing = asyncio.create_task(publisher.publish(events))
    for _ in events:
        await wire.replies.get()
    await publisher._reconnected()
    assert await publishing == [Outcome.FAILED] * len(events)
    assert wire.replies.empty()
