"""How the publisher tells acknowledgements apart, without a server: each message that it sends is answered by hand."""

import asyncio
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots.contracts.events import Event, Outcome, Published
from roots.nats.publisher import Publisher

SECONDS = 5.0
STORED = b'{"stream":"ROOTS_EVENTS","seq":7}'
REPEATED = b'{"stream":"ROOTS_EVENTS","seq":7,"duplicate":true}'


class RecordingClient(Client):
    """A client that keeps the reply subjects of what is published, instead of sending it."""

    def __init__(self) -> None:
        super().__init__()
        self.replies: asyncio.Queue[str] = asyncio.Queue()
        self.is_lost = False

    @property
    def is_connected(self) -> bool:
        """Whether the connection is the first one."""
        return not self.is_lost

    async def publish(
        self, _subject: str, _payload: bytes = b"", reply: str = "", _headers: dict[str, str] | None = None
    ) -> None:
        """Keep the reply subject."""
        self.replies.put_nowait(reply)

    def answer(self, reply: str, data: bytes, headers: dict[str, str] | None = None) -> Msg:
        """Return an answer to what was published with the subject `reply`."""
        return Msg(self, subject=reply, data=data, headers=headers)


def event(name: str, path: str = "tasks", message: bytes = b"{}") -> Event:
    """Return an event."""
    return Event(path=path, message=message, event_id=name, committed_ns=1)


@pytest.fixture
def client() -> RecordingClient:
    """Make a connection."""
    return RecordingClient()


@pytest.fixture
def publisher(client: RecordingClient) -> Publisher:
    """Make a publisher over `client`."""
    return Publisher(client)


async def test_late_answer_is_not_taken_for_another_event_when_its_batch_is_over(
    publisher: Publisher, client: RecordingClient
) -> None:
    """I11: an acknowledgement counts for the event that it answers, however late it comes, never for another."""
    assert [Published(Outcome.UNKNOWN)] == await publisher.publish([event("a")], seconds=0.01)
    second = asyncio.create_task(publisher.publish([event("b"), event("c")], seconds=SECONDS))
    reply_a, _, reply_c = [await client.replies.get() for _ in range(3)]
    for reply in (reply_a, reply_c, reply_c):
        await publisher._take_answer(client.answer(reply, STORED))
    client.stats["reconnects"] += 1
    assert [Published(Outcome.UNKNOWN), Published(Outcome.STORED, 7)] == await second


async def test_answers_are_those_of_each_call_when_calls_run_at_the_same_time(
    publisher: Publisher, client: RecordingClient
) -> None:
    """Two batches under way together are answered in any order, each by its own acknowledgements."""
    calls = [asyncio.create_task(publisher.publish([event(name)], seconds=SECONDS)) for name in "ab"]
    replies = [await client.replies.get() for _ in calls]
    await publisher._take_answer(client.answer(replies[1], REPEATED))
    await publisher._take_answer(client.answer(replies[0], STORED))
    assert [[Published(Outcome.STORED, 7)], [Published(Outcome.REPEATED, 7)]] == await asyncio.gather(*calls)


@pytest.mark.parametrize(
    ("data", "headers", "outcome"),
    [
        (STORED, None, Outcome.STORED),
        (REPEATED, None, Outcome.REPEATED),
        (
            b'{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"}}',
            None,
            Outcome.REFUSED,
        ),
        (b'{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}', None, Outcome.UNAVAILABLE),
        (b"", {"Status": "503"}, Outcome.UNAVAILABLE),
    ],
)
async def test_outcome_is_what_the_stream_answered_when_it_answered(
    publisher: Publisher, client: RecordingClient, data: bytes, headers: dict[str, Any] | None, outcome: Outcome
) -> None:
    """Only what would be refused again is refused; all else that is not stored may be tried again."""
    publishing = asyncio.create_task(publisher.publish([event("a")], seconds=SECONDS))
    await publisher._take_answer(client.answer(await client.replies.get(), data, headers))
    ((result),) = await publishing
    assert outcome is result.outcome


async def test_others_are_published_when_an_event_can_not_be_stored(
    publisher: Publisher, client: RecordingClient
) -> None:
    """A wrong path or a message that is too large is refused without being sent, in its own place."""
    events = [event("a", path="no path"), event("b"), event("c", message=b"x" * 70_000)]
    publishing = asyncio.create_task(publisher.publish(events, seconds=SECONDS))
    await publisher._take_answer(client.answer(await client.replies.get(), STORED))
    assert [Outcome.REFUSED, Outcome.STORED, Outcome.REFUSED] == [result.outcome for result in await publishing]
    assert client.replies.empty()


async def test_rest_is_unavailable_when_the_connection_is_lost_in_the_middle(
    publisher: Publisher, client: RecordingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I9: an event that was sent may be stored; one that was not sent is not."""
    sent = client.publish

    async def publish_once(*args: Any) -> None:
        if client.is_lost:
            raise ConnectionError
        client.is_lost = True
        await sent(*args)

    monkeypatch.setattr(client, "publish", publish_once)
    results = await publisher.publish([event("a"), event("b"), event("c")], seconds=SECONDS)
    assert [Outcome.UNKNOWN, Outcome.UNAVAILABLE, Outcome.UNAVAILABLE] == [result.outcome for result in results]


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error":{"code":400,"description":"batch publish contains duplicate message id"}}',
        # A server that knows no batches has stored each, and answers the last as any other.
        STORED,
        b'{"stream":"ROOTS_EVENTS","seq":9,"batch":"x","count":2}',
    ],
)
async def test_batch_has_no_outcome_when_it_was_not_stored_whole(
    publisher: Publisher, client: RecordingClient, answer: bytes
) -> None:
    """I11: only a batch that was stored whole counts; after any other answer each event is published by itself."""
    events = [event(str(number)) for number in range(3)]
    publishing = asyncio.create_task(publisher.publish_atomically(events, seconds=SECONDS))
    *silent, last = [await client.replies.get() for _ in events]
    assert {""} == set(silent)
    await publisher._take_answer(client.answer(last, answer))
    assert await publishing is None


async def test_batch_is_unknown_when_it_was_not_answered(publisher: Publisher, client: RecordingClient) -> None:
    """I11: without an answer nothing is known of any event, so that each is tried again."""
    events = [event(str(number)) for number in range(3)]
    publishing = asyncio.create_task(publisher.publish_atomically(events, seconds=SECONDS))
    for _ in events:
        await client.replies.get()
    client.stats["reconnects"] += 1
    assert Outcome.UNKNOWN is await publishing
    assert client.replies.empty()


async def test_every_event_is_sent_when_there_are_more_than_may_be_in_flight(
    publisher: Publisher, client: RecordingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events beyond the bound wait for answers; a call that ends gives its places back."""
    monkeypatch.setattr(publisher, "_slots", asyncio.Semaphore(2))
    assert [Outcome.UNKNOWN] * 2 + [Outcome.UNAVAILABLE] == [
        result.outcome for result in await publisher.publish([event(name) for name in "abc"], seconds=0.05)
    ]
    for _ in range(2):
        await client.replies.get()
    second = asyncio.create_task(publisher.publish([event(name) for name in "defgh"], seconds=SECONDS))
    for _ in range(5):
        await publisher._take_answer(client.answer(await client.replies.get(), STORED))
    assert [Published(Outcome.STORED, 7)] * 5 == await second
