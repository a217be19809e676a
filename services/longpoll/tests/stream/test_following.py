"""How a replica follows the streams: what the live way loses is read from NATS, and what is gone is told."""

import asyncio
import uuid
from collections.abc import Callable

import msgspec
import pytest
from tests.testkit.deadlines import stretched, until

from roots.contracts.subjects import EVENTS_STREAM, GRANTS_PREFIX, GRANTS_STREAM
from roots.nats.log_epoch import LOG_SUBJECT
from roots.nats.reader import JetStreamReader
from roots.nats.stored import Stored
from roots.nats.streams import NatsUnavailableError
from roots_longpoll.replica import Replica
from roots_longpoll.stream import follower
from roots_longpoll.stream.follower import Follower

from ..dispatcher_support import record
from ..net_support import Around, Page, RawConnection, listening_page, running, streams_of

MIN_RING_BYTES = 64 * 1024
DISCONNECT = "::+::disconnect"


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Stored], bool]], None]:
    """Return a function that makes the live way lose every message for which its argument is true."""
    receive = Follower.receive

    def start(is_lost: Callable[[Stored], bool]) -> None:
        def lossy(follower: Follower, message: Stored) -> None:
            if not is_lost(message):
                receive(follower, message)

        monkeypatch.setattr(Follower, "receive", lossy)

    return start


async def hear_all(page: Page, count: int) -> list[str]:
    """Return the next `count` messages, from as many polls as they take."""
    received: list[str] = []
    while len(received) < count:
        received += [message for _, message in (await page.poll()).updates]
    return received


async def test_lost_message_is_repaired_when_a_later_one_shows_the_hole(
    around: Around, path: str, lose: Callable[[Callable[[Stored], bool]], None]
) -> None:
    """I1, I2, I9: every event comes once and in order, though the live way lost some."""
    lose(lambda message: message.data in {b"1", b"2", b"5"})
    async with running(around.config()) as replica:
        page = await listening_page(around, replica, path)
        for number in range(8):
            await around.publish(path, str(number))
        assert [str(number) for number in range(8)] == await hear_all(page, 8)
        await page.hold()
        assert await page.wire.is_quiet()
        follower = streams_of(replica).followers["events"]
        await until(lambda: follower._last == replica._dispatcher._ring.head)
        assert 1 <= follower.repairs
        assert 3 <= follower.repaired_messages


async def test_repair_delivers_nothing_twice_when_live_messages_queue_behind_it(
    around: Around, path: str, lose: Callable[[Callable[[Stored], bool]], None]
) -> None:
    """I2: what the repair read beyond the hole is not taken again when it comes on the live way."""
    lose(lambda message: message.data == b"0")
    async with running(around.config()) as replica:
        page = await listening_page(around, replica, path)
        events = replica._stats.events
        await asyncio.gather(*(around.publish(path, str(number)) for number in range(50)))
        await until(lambda: replica._stats.events >= events + 50)
        await page.poll()
        await page.hold()
        assert await page.wire.is_quiet()
        assert events + 50 == replica._stats.events
        ring = replica._dispatcher._ring
        seqs = [event.seq for event in ring._order]
        assert sorted(set(seqs)) == seqs


async def test_lost_tail_is_found_when_no_later_message_comes(
    around: Around, path: str, lose: Callable[[Callable[[Stored], bool]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, I9: the stream's end is compared every few seconds."""
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 0.3)
    lose(lambda message: message.data == b"lost")
    async with running(around.config()) as replica:
        page = await listening_page(around, replica, path)
        await page.hold()
        await around.publish(path, "lost")
        assert [(path, "lost")] == (await page.receive()).updates


async def test_lost_withdrawal_is_found_when_no_later_record_comes(
    around: Around, path: str, lose: Callable[[Callable[[Stored], bool]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5, I9: records are reconciled like events."""
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 0.3)
    lose(lambda message: b'"gone":{"' in message.data)
    async with running(around.config()) as replica:
        page = await listening_page(around, replica, path)
        await page.hold()
        await around.connect(page.uid, gone={path: 2})
        assert [(DISCONNECT, path)] == (await page.receive()).updates


async def test_delivery_goes_on_when_nats_is_killed_and_comes_back(own: Around, path: str) -> None:
    """I1, I9: under a held poll, on every path, without a gap."""
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        await page.hold()
        await own.kill()
        await own.start()
        await own.publish(path, "after")
        answer = await page.receive()
        assert ([(path, "after")], []) == (answer.updates, answer.gaps)
        await page.hold()
        await own.connect(page.uid, path, "more")
        assert {(path, ""), ("more", "")} == set((await page.receive()).updates)


@pytest.mark.parametrize("is_held", [True, False])
async def test_gap_is_told_when_the_stream_is_created_again(own: Around, path: str, is_held: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """I9: held and new polls receive `epoch`, and go on with the new stream."""
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        for number in range(3):
            await own.publish(path, str(number))
        await hear_all(page, 3)
        if is_held:
            await page.hold()
        epoch = replica._dispatcher._ring.epoch
        await own.administrate(f"STREAM.DELETE.{EVENTS_STREAM}")
        await own.provision()
        await own.publish(path, "new")
        if not is_held:
            await until(lambda: replica._dispatcher._ring.epoch != epoch)
            await page.hold()
        answer = await page.receive()
        assert [(path, "epoch")] == answer.gaps
        assert epoch < answer.cursor.epoch
        await page.hold()
        await own.publish(path, "newer")
        assert (path, "newer") in (await page.receive()).updates


async def test_port_is_closed_until_polls_are_served_when_a_replica_begins(
    own: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: a gateway then asks another replica, so that one which begins is no error to any client."""
    monkeypatch.setattr("roots_longpoll.replica.FIRST_VIEW_SECONDS", 60.0)
    await own.kill()
    replica, stopped = Replica(own.config()), asyncio.Event()
    running_replica = asyncio.create_task(replica.run(stopped))
    try:
        await until(lambda: replica.port)
        with pytest.raises(ConnectionRefusedError):
            await RawConnection.open(replica.port)
        await own.start()
        await until(replica.listening.is_set)
        wire = await RawConnection.open(replica.port)
        assert 200 == (await wire.ask("/")).status
    finally:
        stopped.set()
        await running_replica


async def test_polls_get_503_until_nats_is_there_when_it_was_absent_at_start(
    own: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica starts without NATS, says what it waits for, and recovers by itself."""
    monkeypatch.setattr("roots_longpoll.replica.FIRST_VIEW_SECONDS", 0.1)
    await own.kill()
    async with running(own.config(), is_ready=False) as replica:
        wire = await RawConnection.open(replica.port)
        refused = await wire.ask("/")
        assert (503, "1") == (refused.status, refused.headers["retry-after"])
        assert "NATS" in refused.problem["detail"]
        unready = {name for name, check in replica._health.checks().items() if not check.is_ok}
        assert {"broker", "view"} == unready
        await own.start()
        await until(lambda: all(check.is_ok for check in replica._health.checks().values()))
        page = await listening_page(own, replica, path)
        await page.hold()
        await own.publish(path, "x")
        assert [(path, "x")] == (await page.receive()).updates


async def test_polls_get_503_when_the_streams_do_not_exist_yet(own: Around, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica waits for what provisioning creates."""
    monkeypatch.setattr("roots_longpoll.replica.FIRST_VIEW_SECONDS", 0.1)
    await own.administrate(f"STREAM.DELETE.{EVENTS_STREAM}")
    async with running(own.config(), is_ready=False) as replica:
        wire = await RawConnection.open(replica.port)
        await until(lambda: streams_of(replica).followers and streams_of(replica).followers["grants"].is_ready)
        assert 503 == (await wire.ask("/")).status
        await own.provision()
        await until(lambda: replica._server.refusal is None)
        assert 200 == (await wire.ask("/")).status


async def test_held_polls_hear_nothing_and_new_ones_get_503_when_the_view_is_stale(
    own: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: with no fresh view for so long a replica does not guess."""
    monkeypatch.setattr("roots_longpoll.replica.STALE_SECONDS", 0.3)
    monkeypatch.setattr("roots_longpoll.http.server_state.STALE_SECONDS", 0.3)
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 0.1)
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        await page.hold()
        await own.kill()
        await until(lambda: replica._server.refusal is not None)
        other = await RawConnection.open(replica.port)
        assert 503 == (await other.ask(page.target)).status
        assert await page.wire.is_quiet()
        await own.start()
        await own.publish(path, "x")
        assert [(path, "x")] == (await page.receive()).updates


async def test_backlog_comes_from_the_stream_when_the_ring_is_tiny(around: Around, path: str) -> None:
    """I1, I2: everything in order, though the ring holds a part of it only."""
    async with running(around.config(ring_bytes=MIN_RING_BYTES)) as replica:
        page = await listening_page(around, replica, path)
        for number in range(40):
            await around.publish(path, f"{number}:{'x' * 5000}")
        await until(lambda: replica._dispatcher._ring.evicted_total)
        received = await hear_all(page, 40)
        assert [str(number) for number in range(40)] == [message.partition(":")[0] for message in received]
        assert 1 <= streams_of(replica).replayer.results["ok"]


async def test_gap_is_told_when_old_events_are_purged(own: Around, path: str) -> None:
    """I1: the path is named, with what is left of it."""
    async with running(own.config(ring_bytes=MIN_RING_BYTES)) as replica:
        page = await listening_page(own, replica, path)
        for number in range(40):
            await own.publish(path, f"{number}:{'x' * 5000}")
        await own.administrate(f"STREAM.PURGE.{EVENTS_STREAM}", b'{"keep":30}')
        answer = await page.poll()
        assert [(path, "expired")] == answer.gaps
        received = [message.partition(":")[0] for _, message in answer.updates]
        received += [message.partition(":")[0] for message in await hear_all(page, 30 - len(received))]
        assert [str(number) for number in range(10, 40)] == received


async def test_new_path_is_confirmed_when_its_grant_is_older_than_the_ring(around: Around, path: str) -> None:
    """I7: a quiet path on a busy stream is read from the stream once."""
    async with running(around.config(ring_bytes=MIN_RING_BYTES)) as replica:
        page = await Page.begin(replica)
        granted = await around.grant(1)
        for _ in range(30):
            await around.publish("busy", "x" * 5000)
        await around.put(page.uid, record(1, {path: granted}))
        assert [(path, "")] == (await page.poll()).updates
        assert 1 == streams_of(replica).replayer.results["ok"]


async def test_view_begins_anew_when_more_changes_were_missed_than_are_read(
    around: Around, path: str, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Callable[[Stored], bool]], None]
) -> None:
    """I5, I9: far behind, every held poll's record is asked for again."""
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 0.5)
    monkeypatch.setattr(follower, "MAX_FILL", 3)
    lost = asyncio.Event()
    lose(lambda message: lost.is_set() and message.subject.startswith(GRANTS_PREFIX))
    async with running(around.config()) as replica:
        page = await listening_page(around, replica, path)
        await page.hold()
        await until(lambda: len(replica._dispatcher.held))
        lost.set()
        await around.connect(page.uid, gone={path: 2})
        for number in range(5):
            await around.put(f"other{number}".encode(), record(1, {}))
        assert [(DISCONNECT, path)] == (await page.receive()).updates
        await page.hold()
        await around.publish(path, "secret")
        assert await page.wire.is_quiet()


async def test_poll_waits_for_its_record_when_the_leader_answers_late(
    around: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4: what is published meanwhile is delivered; other clients are served."""
    async with running(around.config()) as first:
        page = await listening_page(around, first, path)
    gate = asyncio.Event()
    last_of = JetStreamReader.last_of

    async def late(reader: JetStreamReader, subject: str) -> object:
        if subject != LOG_SUBJECT:
            await gate.wait()
        return await last_of(reader, subject)

    monkeypatch.setattr(JetStreamReader, "last_of", late)
    async with running(around.config()) as second:
        await page.move_to(second)
        await page.hold()
        await until(lambda: len(second._dispatcher.held))
        await around.publish(path, "meanwhile")
        assert await page.wire.is_quiet()
        gate.set()
        assert [(path, "meanwhile")] == (await page.receive()).updates


async def test_poll_is_refused_when_the_leader_does_not_answer_in_time(
    around: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: the wait is bounded, the connection stays, and the client can try again."""
    async with running(around.config()) as first:
        page = await listening_page(around, first, path)
    monkeypatch.setattr("roots_longpoll.stream.lookups.LOOKUP_SECONDS", 0.1)
    async with running(around.config()) as second:
        streams = streams_of(second)
        monkeypatch.setattr(streams.lookups, "_reader", JetStreamReader(streams.client, "NO_SUCH_STREAM"))
        await page.move_to(second)
        await page.hold()
        refused = await page.wire.read()
        assert (503, "1") == (refused.status, refused.headers["retry-after"])
        monkeypatch.setattr(streams.lookups, "_reader", JetStreamReader(streams.client, GRANTS_STREAM))
        await page.hold()
        await around.publish(path, "x")
        assert [(path, "x")] == (await page.receive()).updates


async def test_record_is_not_taken_when_the_answer_is_of_another_client(
    around: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: a replica that was taken over can have an answer of its own sent to another one's inbox."""
    stranger, own = uuid.uuid4().hex.encode(), uuid.uuid4().hex.encode()
    await around.connect(stranger, path)
    client = await around.client("longpoll")
    reader = JetStreamReader(client, GRANTS_STREAM)
    wanted, theirs = (GRANTS_PREFIX + uid.decode() for uid in (own, stranger))
    assert theirs == (await reader.last_of(theirs)).subject  # type: ignore[union-attr]  # there is one
    request = client.request

    async def other(subject: str, _: bytes, timeout: float) -> object:  # noqa: ASYNC109  # as nats-py has it
        return await request(subject, msgspec.json.encode({"last_by_subj": theirs}), timeout=timeout)

    monkeypatch.setattr(client, "request", other)
    with pytest.raises(NatsUnavailableError, match="another subject"):
        await reader.last_of(wanted)


@pytest.mark.parametrize("raw", [b"{", b'{"n":"x"}', b"\xff\xfe"])
async def test_replica_goes_on_when_a_record_is_unreadable(
    replica: Replica, around: Around, path: str, raw: bytes
) -> None:
    """A broken record grants nothing and disturbs nobody."""
    broken = await Page.begin(replica)
    await broken.hold()
    await around.put(broken.uid, raw)
    page = await listening_page(around, replica, path)
    await page.hold()
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates
    assert await broken.wire.is_quiet()


async def test_event_is_passed_over_when_its_subject_is_no_path(replica: Replica, around: Around, path: str) -> None:
    """Nobody can receive it, and the events after it are delivered."""
    page = await listening_page(around, replica, path)
    await page.hold()
    js = (await around.client("tasks")).jetstream()
    await js.publish("roots.events.a.b.c.d.e.f.g.h.i", b"x", stream=EVENTS_STREAM)
    await js.publish("roots.events.ü", b"x", stream=EVENTS_STREAM)
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates


async def test_served_uids_are_reported_when_their_time_has_come(around: Around, path: str) -> None:
    """The subscriptions service keeps the records of those who still poll."""
    client = await around.client("subscriptions")
    subscription = await client.subscribe("roots.grants.touch")
    async with running(around.config(renewal_seconds=0.3)) as replica:
        page = await listening_page(around, replica, path)
        message = await subscription.next_msg(timeout=stretched(10))
        await message.respond(b"")
        assert page.uid in message.data
