"""What can't be read, in the log and in the bucket: it stops nothing, and it grants nothing."""

import asyncio
import uuid
from typing import Any

import pytest
from tests.testkit.deadlines import until

from roots.contracts.events import MAX_MESSAGE_BYTES
from roots.contracts.subjects import EVENTS_PREFIX, EVENTS_STREAM, GRANTS_PREFIX, GRANTS_STREAM, subject_of
from roots_longpoll.replica import Replica
from roots_longpoll.stream import follower
from roots_longpoll.stream.follower import Follower

from ..dispatcher_support import record
from ..net_support import Around, Page, listening_page, running, streams_of

MIN_RING_BYTES = 64 * 1024
_VERSION = b"NATS/1.0\r\n"

# By name: the kind that is counted, None for an event that can be read; the subject's end; headers; message.
POISON: dict[str, tuple[str | None, str | None, bytes, bytes]] = {
    "time of 5,000 digits": ("event_time", None, b"Roots-Time: " + b"9" * 5000, b"x"),
    "time of 20 digits": ("event_time", None, b"Roots-Time: " + b"9" * 20, b"x"),
    "negative time": ("event_time", None, b"Roots-Time: -1", b"x"),
    "time that is no ASCII": ("event_time", None, b"Roots-Time: \xff\xfe", b"x"),
    "digits of another script": ("event_time", None, "Roots-Time: ١٢٣".encode(), b"x"),
    "empty time": ("event_time", None, b"Roots-Time: ", b"x"),
    "no headers": (None, None, b"", b"x"),
    "other headers": (None, None, b"A: b", b"x"),
    "headers twice": (None, None, b"Roots-Time: 5\r\nRoots-Time: 6\r\nNats-Sequence: 1\r\nNats-Subject: a", b"x"),
    "a sequence of its own": (None, None, b"Nats-Sequence: " + b"9" * 5000, b"x"),
    "a time of storage of its own": (None, None, b"Nats-Time-Stamp: " + b"9" * 5000, b"x"),
    "a status of its own": (None, None, b"Status: 204", b"x"),
    "lines that are no headers": (None, None, b"::\r\n: b\r\nc\r\n\xff\xfe: \xff", b"x"),
    "traceparent of 5,000 characters": (None, None, b"traceparent: " + b"0" * 5000, b"x"),
    "message that is no UTF-8": (None, None, b"", b"\xff\xfe\x00"),
    "long message": ("event_message", None, b"", b"x" * (MAX_MESSAGE_BYTES + 1)),
    "subject of another grammar": ("event_subject", "a$b", b"", b"x"),
    "subject that is no ASCII": ("event_subject", "pä", b"", b"x"),
    "subject with an escape of another kind": ("event_subject", "a%2fb", b"", b"x"),
    "deep subject": ("event_subject", ".".join("a" * 9), b"", b"x"),
    "long subject": ("event_subject", "a" * 300, b"", b"x"),
}


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


async def store(around: Around, subject: str, head: bytes, message: bytes, stream: str = EVENTS_STREAM) -> None:
    """Store exactly these bytes, as a client that is not ours can."""
    client = await around.client("tasks" if stream == EVENTS_STREAM else "subscriptions")
    block = _VERSION + (head + b"\r\n" if head else b"") + b"\r\n"
    line = f"HPUB {subject} {len(block)} {len(block) + len(message)}\r\n".encode()
    await client._send_command(line + block + message + b"\r\n")
    await client.flush()


async def store_poison(around: Around, path: str) -> None:
    """Store every kind of poison, those that can be read on `path`."""
    for _, end, head, message in POISON.values():
        await store(around, subject_of(path) if end is None else EVENTS_PREFIX + end, head, message)


def expected_counts() -> dict[str, int]:
    """Return how often each kind is counted when all poison is read once."""
    kinds = [kind for kind, *_ in POISON.values() if kind is not None]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def counts_of(replica: Replica) -> dict[str, int]:
    """Return what the replica has counted."""
    return {kind: count for kind, count in replica._stats.unreadable.counts.items() if count}


def readable() -> list[str]:
    """Return the messages that are learned of all poison."""
    return [
        message.decode("utf-8", "replace") for kind, _, _, message in POISON.values() if kind in {None, "event_time"}
    ]


async def heard_until(page: Page, last: str) -> list[str]:
    """Return the messages that come, up to and without `last`."""
    received: list[str] = []
    while last not in received:
        answer = await page.poll()
        assert [] == answer.gaps
        received += [message for _, message in answer.updates]
    assert last == received.pop()
    return received


async def test_unreadable_events_are_passed_over_when_they_come_live(own: Around, path: str) -> None:
    """I1, I2: everything else is received, in order and once, and the cursor passes what can't be read."""
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        await store_poison(own, path)
        seq = await own.publish(path, "after")
        assert readable() == await heard_until(page, "after")
        assert expected_counts() == counts_of(replica)
        await page.hold()
        assert await page.wire.is_quiet()
        assert replica._dispatcher._ring.head == seq
        assert 0 == streams_of(replica).followers["events"].repairs


async def test_replica_begins_when_the_end_of_the_log_is_unreadable(own: Around, path: str) -> None:
    """I1, I9: what a restarted replica reads at its start can't keep it from starting, nor later events from coming."""
    async with running(own.config()) as first:
        page = await listening_page(own, first, path)
    await store_poison(own, path)
    await own.publish(path, "before")
    for name in ("long message", "subject of another grammar"):
        _, end, head, message = POISON[name]
        await store(own, subject_of(path) if end is None else EVENTS_PREFIX + end, head, message)
    async with running(own.config()) as second:
        await page.move_to(second)
        assert readable() == await heard_until(page, "before")
        await own.publish(path, "after")
        assert [] == await heard_until(page, "after")


async def test_unreadable_events_are_passed_over_when_the_live_way_loses_them(
    own: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, I9: a repair reads them from the log."""
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 0.3)
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        receive = Follower.receive
        monkeypatch.setattr(Follower, "receive", lambda *_: None)
        await store_poison(own, path)
        await until(lambda: counts_of(replica) == expected_counts())
        monkeypatch.setattr(Follower, "receive", receive)
        await own.publish(path, "after")
        assert readable() == await heard_until(page, "after")


async def test_unreadable_events_are_passed_over_when_a_replay_reads_them(own: Around, path: str) -> None:
    """I1, I7: what the ring no longer has is read from the log, whatever is in it."""
    async with running(own.config(ring_bytes=MIN_RING_BYTES)) as replica:
        page = await listening_page(own, replica, path)
        await store_poison(own, path)
        for number in range(30):
            await own.publish("busy", f"{number}{'x' * 5000}")
        last = POISON["long message"]
        await own.publish(path, "after")
        await store(own, subject_of(path), last[2], last[3])
        for number in range(30):
            await own.publish("busy", f"{number}{'x' * 5000}")
        await until(lambda: replica._dispatcher._ring.tail > 60)
        assert readable() == await heard_until(page, "after")
        assert 1 <= streams_of(replica).replayer.results["ok"]
        assert 0 == streams_of(replica).replayer.results["failed"]


async def test_unreadable_events_are_logged_once_when_there_are_many(
    own: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of them fills no log; the metric has them all."""
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr("roots_longpoll.delivery.stats.log.warning", lambda _event, **fields: logged.append(fields))
    async with running(own.config()) as replica:
        for _ in range(3):
            await store_poison(own, path)
        await until(lambda: counts_of(replica) == {kind: 3 * count for kind, count in expected_counts().items()})
        assert expected_counts().keys() == {fields["kind"] for fields in logged}
        assert len(expected_counts()) == len(logged)
        assert all(fields["seq"] > 0 for fields in logged)


RECORDS = {
    "no JSON": b"x",
    "no UTF-8": b"\xff",
    "deep": b"[" * 60_000,
    "2^63": b'{"n":9223372036854775808,"paths":{},"expires":1}',
    "another grammar": record(9, {"a b": {"from": 0, "n": 9, "since": 9, "epoch": 1}}),
    "no end": b'{"n":9,"paths":{}}',
}


@pytest.mark.parametrize("raw", RECORDS.values(), ids=RECORDS.keys())
async def test_held_client_is_renewed_when_its_record_becomes_unreadable(around: Around, path: str, raw: bytes) -> None:
    """I5: what it may receive is not known, so it receives nothing, and begins again as one whose grants have ended."""
    async with running(around.config()) as replica:
        page = await listening_page(around, replica, path)
        uid = page.uid
        await page.hold()
        await around.put(uid, raw)
        answer = await page.receive()
        assert uid != answer.uid
        assert [] == answer.updates
        await around.publish(path, "secret")
        await page.hold()
        assert await page.wire.is_quiet()
        assert 1 <= counts_of(replica)["grant_record"]


@pytest.mark.parametrize("raw", RECORDS.values(), ids=RECORDS.keys())
async def test_client_is_renewed_when_its_record_is_unreadable_in_the_store(
    around: Around, path: str, raw: bytes
) -> None:
    """I5, I6: a replica that has to ask for it finds none, alone and among others."""
    async with running(around.config()) as first:
        pages = [await listening_page(around, first, path) for _ in range(3)]
    uids = [page.uid for page in pages]
    for page in pages:
        await around.put(page.uid, raw)
    async with running(around.config()) as second:
        for page in pages:
            await page.move_to(second)
            await page.hold()
        assert not {(await page.receive()).uid for page in pages} & set(uids)


async def test_record_is_read_when_its_headers_are_unreadable(around: Around, path: str) -> None:
    """I6: a record is what its message says; no headers of others keep it from being found."""
    async with running(around.config()) as replica:
        page = await Page.begin(replica)
        raw = record(1, {path: await around.grant(1)})
        subject = GRANTS_PREFIX + page.uid.decode()
        await store(around, subject, b"\xff\xfe: \xff\r\nNats-Sequence: x", raw, GRANTS_STREAM)
        assert [(path, "")] == (await page.poll()).updates
    async with running(around.config()) as other:
        await page.move_to(other)
        await page.hold()
        await asyncio.sleep(0)
        await around.publish(path, "x")
        assert [(path, "x")] == (await page.receive()).updates
