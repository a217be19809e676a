"""Fan-out: slices of woken polls, and what happens between them."""

import math
import time

import pytest

from roots_longpoll.delivery import fanout
from roots_longpoll.delivery.cursor import Cursor
from roots_longpoll.delivery.fanout import SLICE, SLICE_SECONDS
from roots_longpoll.delivery.poll import Limits
from roots_longpoll.delivery.responses import SharedBody

from ..dispatcher_support import EPOCH, DispatcherBench, FakeReply, grant, record

CLIENTS = SLICE * 2 + 40


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no slice end sooner since the machine is busy."""
    monkeypatch.setattr(fanout, "SLICE_SECONDS", math.inf)


@pytest.fixture
def bench() -> DispatcherBench:
    """Return a dispatcher."""
    return DispatcherBench()


def hold(bench: DispatcherBench, count: int = CLIENTS, *paths: str) -> list[FakeReply]:
    """Return the replies of so many clients that wait on `paths`, on "a" when none are given."""
    replies = []
    for _ in range(count):
        uid = bench.mint()
        bench.connect(*(paths or ("a",)), uid=uid)
        replies.append(bench.poll(bench.ring.head, acked=1, uid=uid))
    return replies


def received(replies: list[FakeReply]) -> list[list[str] | None]:
    """Return the messages that each client got, None for one that still waits."""
    return [[message for _, message in reply.only.updates] if reply.is_done else None for reply in replies]


def test_all_hear_once_when_they_are_more_than_a_slice(bench: DispatcherBench) -> None:
    """I1, I7: the first slice is answered at once, the others after other work."""
    replies = hold(bench)
    bench.publish("a", "x")
    assert SLICE == sum(reply.is_done for reply in replies)
    bench.run_slices()
    assert [["x"]] * CLIENTS == received(replies)
    assert (CLIENTS, 0, 0) == (bench.stats.deliveries, len(bench.dispatcher.held), len(bench.dispatcher.held.by_path))


def test_late_slices_hear_both_when_an_event_comes_between(bench: DispatcherBench) -> None:
    """I1, I2: who was not yet answered gets the events together, in order, and none twice."""
    replies = hold(bench)
    bench.publish("a", "1")
    bench.publish("a", "2")
    bench.run_slices()
    assert [["1"]] * SLICE + [["1", "2"]] * (CLIENTS - SLICE) == received(replies)


def test_answered_client_hears_the_next_event_when_it_polls_between_slices(bench: DispatcherBench) -> None:
    """I1, I2: its new poll is woken by what came after its cursor only."""
    replies = hold(bench)
    bench.publish("a", "1")
    again = bench.poll_at(replies[0].only.cursor, replies[0].only.uid)
    bench.publish("a", "2")
    bench.run_slices()
    assert [["2"]] == received([again])


def test_other_path_is_heard_too_when_it_has_an_event_between_slices(bench: DispatcherBench) -> None:
    """I1, I2: a poll that is woken by one path receives the other in the same answer, in order."""
    replies = hold(bench, CLIENTS, "a", "b")
    bench.publish("a", "1")
    bench.publish("b", "2")
    bench.run_slices()
    assert [["1"]] * SLICE + [["1", "2"]] * (CLIENTS - SLICE) == received(replies)


def test_late_slices_wait_when_the_view_becomes_stale_between(bench: DispatcherBench) -> None:
    """I5: what woke a poll is no reason to tell it, once its grants may be wrong."""
    replies = hold(bench)
    bench.publish("a", "1")
    bench.dispatcher.set_stale(is_stale=True)
    bench.run_slices()
    assert [["1"]] * SLICE + [None] * (CLIENTS - SLICE) == received(replies)
    bench.dispatcher.set_stale(is_stale=False)
    assert [["1"]] * CLIENTS == received(replies)


def test_ended_polls_are_passed_over_when_a_slice_comes(bench: DispatcherBench) -> None:
    """A poll that was abandoned, released or replaced between slices is not answered again."""
    replies = hold(bench)
    polls = bench.dispatcher.held.polls
    bench.publish("a", "x")
    gone, withdrawn, replaced, released = polls[-4:]
    bench.dispatcher.abandon(gone)
    bench.put(record(2, {}, gone={"a": 2}), withdrawn.uid)
    again = bench.poll(0, acked=1, uid=replaced.uid)
    bench.dispatcher.release(released)
    bench.run_slices()
    assert [None, ["a"], [], ["x"]] == received(replies[-4:])
    assert [["x"]] == received([again])


def test_hold_does_not_end_a_poll_when_an_event_has_woken_it(bench: DispatcherBench) -> None:
    """I1: a poll in the queue is not sent away with a cursor past its event."""
    replies = hold(bench)
    bench.publish("a", "x")
    for poll in bench.dispatcher.held.polls:
        bench.dispatcher.release(poll)
    bench.run_slices()
    assert [["x"]] * CLIENTS == received(replies)


def test_woken_poll_is_sent_away_when_it_has_no_news_and_the_replica_drains(
    bench: DispatcherBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: a poll that an event woke before its grant begins is not held by a replica that goes away."""
    monkeypatch.setattr(fanout, "SLICE", 1)
    hold(bench, 1)
    bench.put(record(1, {"a": grant(5)}))
    future = bench.poll(0, acked=1)
    bench.publish("a", "1")
    bench.dispatcher.is_draining = True
    for poll in bench.dispatcher.held.polls:
        bench.dispatcher.release(poll)
    assert not future.is_done
    bench.run_slices()
    assert ([], True) == (future.only.updates, future.only.retry is not None)


def test_client_hears_nothing_before_its_grant_when_it_shares_a_slice(bench: DispatcherBench) -> None:
    """I5: a later `from` is kept also where others get the event."""
    early, late = hold(bench, 2)
    bench.put(record(1, {"a": grant(5)}), bench.uid)
    future = bench.poll(0, acked=1)
    bench.publish("a", "1")
    assert [["1"], ["1"], None] == received([early, late, future])


def test_slices_read_the_stream_when_the_ring_has_lost_the_event() -> None:
    """I1: with a ring too small for the event, the woken polls go to the stream."""
    bench = DispatcherBench(ring_bytes=1)
    replies = hold(bench, 3)
    bench.publish("a", "x")
    assert (3, [None] * 3) == (len(bench.needs.replays), received(replies))


def test_rest_follows_on_the_next_poll_when_a_slice_has_too_many_events(bench: DispatcherBench) -> None:
    """I7: the bound holds for shared answers too."""
    small = DispatcherBench(limits=Limits(max_updates=2))
    replies = hold(small)
    for number in range(5):
        small.publish("a", str(number))
    small.run_slices()
    assert ["0", "1"] == received(replies)[-1]
    last = replies[-1].only
    assert [["2", "3"]] == received([small.poll_at(last.cursor, last.uid)])


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return seconds."""
        return self.now

    def time(self) -> float:
        """Return the seconds since 1970."""
        return time.time()

    def time_ns(self) -> int:
        """Return the nanoseconds since 1970."""
        return time.time_ns()


def test_slice_ends_sooner_when_its_polls_take_long(monkeypatch: pytest.MonkeyPatch, bench: DispatcherBench) -> None:
    """I7: whatever an answer costs, other requests get their turn; and all are answered, each once."""
    clock = Clock()
    monkeypatch.setattr(fanout, "SLICE_SECONDS", SLICE_SECONDS)
    replies = hold(bench)
    answer_shared = FakeReply.answer_shared

    def slow(reply: FakeReply, shared: SharedBody, uid: bytes) -> None:
        clock.now += SLICE_SECONDS / 10
        answer_shared(reply, shared, uid)

    monkeypatch.setattr(fanout, "time", clock)
    monkeypatch.setattr(FakeReply, "answer_shared", slow)
    bench.publish("a", "x")
    done = [sum(reply.is_done for reply in replies)]
    while bench.needs.slices:
        bench.run_slice()
        done.append(sum(reply.is_done for reply in replies))
    assert all(later - earlier <= 16 for earlier, later in zip([0, *done], done, strict=False))
    assert [["x"]] * CLIENTS == received(replies)


def test_others_hear_all_the_same_when_one_poll_makes_an_error(
    monkeypatch: pytest.MonkeyPatch, bench: DispatcherBench
) -> None:
    """I1: a fault in one connection costs nobody else an event, and no later one."""
    replies = hold(bench)
    faulty = {id(replies[number]) for number in (3, SLICE, CLIENTS - 1)}
    answer_shared = FakeReply.answer_shared

    def failing(reply: FakeReply, shared: SharedBody, uid: bytes) -> None:
        if id(reply) in faulty:
            raise LookupError("a fault")
        answer_shared(reply, shared, uid)

    monkeypatch.setattr(FakeReply, "answer_shared", failing)
    with pytest.raises(LookupError):
        bench.publish("a", "x")
    while bench.needs.slices:
        try:
            bench.run_slices()
        except LookupError:
            continue
    assert [["x"]] * (CLIENTS - 3) == received([reply for reply in replies if id(reply) not in faulty])
    again = bench.poll_at(replies[0].only.cursor, replies[0].only.uid)
    bench.publish("a", "y")
    assert [["y"]] == received([again])


class QuietReply(FakeReply):
    """Makes the answer, and keeps nothing of it."""

    def answer_shared(self, shared: SharedBody, uid: bytes) -> None:
        """Make a body as a connection does."""
        shared.of(uid)


@pytest.mark.parametrize(("clients", "paths", "size"), [(5000, 1, 100), (1000, 100, 100), (1000, 1, 200_000)])
def test_slice_is_short_when_thousands_wait(
    monkeypatch: pytest.MonkeyPatch, clients: int, paths: int, size: int
) -> None:
    """I7: many polls, many paths or large answers: no other request waits for more than 20 ms of the loop's time."""
    monkeypatch.setattr(fanout, "SLICE_SECONDS", SLICE_SECONDS)
    bench = DispatcherBench(ring_bytes=1 << 26, capacity=4 * clients)
    uids = [bench.mint() for _ in range(clients)]
    for number, uid in enumerate(uids):
        bench.put(record(1, {path: grant(0) for path in ["a", *(f"{number}/{one}" for one in range(paths - 1))]}), uid)
    slices: list[float] = []
    for _ in range(3):
        head = bench.ring.head
        for uid in uids:
            bench.dispatcher.poll(QuietReply(), uid, Cursor(EPOCH, head, 1))
        assert clients == len(bench.dispatcher.held)
        began = time.thread_time()
        bench.publish("a", "x" * size)
        slices.append(time.thread_time() - began)
        while bench.needs.slices:
            began = time.thread_time()
            bench.run_slice()
            slices.append(time.thread_time() - began)
        assert 0 == len(bench.dispatcher.held)
    # A page that the system had to find, or a collection of garbage, may make one of them longer.
    slices.sort()
    assert 0.02 > slices[len(slices) * 9 // 10]
    assert len(slices) >= 3 * clients // SLICE
