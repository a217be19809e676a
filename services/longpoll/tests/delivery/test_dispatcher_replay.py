"""What the dispatcher does with positions older than its ring, and with answers that do not fit."""

import pytest

from roots_longpoll.delivery import fanout
from roots_longpoll.delivery.poll import Limits, Replay
from roots_longpoll.delivery.ring import Backlog, Event

from ..dispatcher_support import EPOCH, DispatcherBench, FakeReply, event, grant, record

MAX_UPDATES = Limits().max_updates


@pytest.fixture
def bench() -> DispatcherBench:
    """Return a dispatcher whose ring begins after event 100."""
    return DispatcherBench(head=100)


def answer_replay(
    bench: DispatcherBench, events: list[Event], *, expired: tuple[str, ...] = (), seq: int | None = None
) -> None:
    """Answer the oldest question for a backlog as the stream would."""
    need = bench.needs.replays.pop(0)
    backlog = Backlog(events, bench.ring.tail if seq is None else seq)
    bench.dispatcher.replayed(need, Replay(backlog=backlog, expired=expired, epoch=EPOCH))


def test_stream_is_read_when_the_position_is_older_than_the_ring(bench: DispatcherBench) -> None:
    """I1: what the ring no longer has comes from the stream, from each path's start."""
    bench.put(record(1, {"a": grant(10), "b": grant(60)}))
    held = bench.poll(50, acked=1)
    assert (("a", 50), ("b", 60)) == bench.needs.replays[0].starts
    answer_replay(bench, [event(70, "a", "x")])
    assert ([("a", "x")], 100) == (held.only.updates, held.only.cursor.seq)


def test_event_is_delivered_when_it_comes_during_a_replay(bench: DispatcherBench) -> None:
    """I4: after a reading that found nothing the ring is looked at again."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(50, acked=1)
    bench.publish("a", "meanwhile")
    assert not held.is_done
    answer_replay(bench, [])
    assert ([("a", "meanwhile")], 101) == (held.only.updates, held.only.cursor.seq)


def test_new_path_is_read_once_when_the_stream_has_nothing_of_it(bench: DispatcherBench) -> None:
    """I7: a path granted before the ring's tail is confirmed after one reading, not read for ever."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(100)
    answer_replay(bench, [])
    assert ([], [("a", "")]) == (bench.needs.replays, held.only.updates)


def test_known_path_is_not_told_again_when_a_new_one_is_read_from_the_stream(bench: DispatcherBench) -> None:
    """I2: the reading of a new path does not take the others back behind their position."""
    bench.publish("a", "known")
    bench.put(record(2, {"a": grant(0), "b": grant(10, 2)}))
    held = bench.poll(101, acked=1)
    answer_replay(bench, [])
    assert ([("b", "")], 101) == (held.only.updates, held.only.cursor.seq)


def test_gap_is_told_when_the_stream_has_lost_events(bench: DispatcherBench) -> None:
    """I1: events that may be gone are reported by path."""
    bench.put(record(1, {"a": grant(10), "b": grant(10)}))
    held = bench.poll(50, acked=1)
    answer_replay(bench, [event(99, "b", "x")], expired=("a", "unheard"))
    assert ([("a", "expired")], [("b", "x")]) == (held.only.gaps, held.only.updates)
    assert 1 == bench.stats.gaps["expired"]


def test_replayed_event_stays_untold_when_its_path_was_withdrawn_meanwhile(bench: DispatcherBench) -> None:
    """I5: what was read with an older record is read again, and filtered by the newest."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(50, acked=1)
    need = bench.needs.replays.pop()
    bench.put(record(2, {}, gone={"a": 2}))
    backlog = Backlog([event(70, "a", "secret")], 100)
    bench.dispatcher.replayed(need, Replay(backlog=backlog, expired=(), epoch=EPOCH))
    assert (("a", 50),) == need.starts
    assert [("::+::disconnect", "a")] == held.only.updates


def test_head_is_checked_when_a_replay_met_another_epoch(bench: DispatcherBench) -> None:
    """I9: the stream started again before this replica noticed; it looks now, instead of reading again and again."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(50, acked=1)
    need = bench.needs.replays.pop()
    bench.dispatcher.replayed(need, Replay(backlog=Backlog([], 100), expired=(), epoch=EPOCH + 1))
    assert ([], 1, False) == (bench.needs.replays, bench.needs.head_checks, held.is_done)
    bench.dispatcher.begin(EPOCH + 1, 0, [], 0)
    assert [("a", "epoch")] == held.only.gaps


def test_gap_is_told_when_the_stream_began_anew_during_a_replay(bench: DispatcherBench) -> None:
    """I9: what was read of the log before is not told as if it were of the new one."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(50, acked=1)
    need = bench.needs.replays.pop()
    bench.dispatcher.begin(EPOCH + 1, 0, [], 5)
    backlog = Backlog([event(70, "a", "x")], 100)
    bench.dispatcher.replayed(need, Replay(backlog=backlog, expired=(), epoch=EPOCH + 1))
    assert ([("a", "epoch")], []) == (held.only.gaps, held.only.updates)
    assert (EPOCH + 1, 5, 1) == held.only.cursor


def test_hold_ends_with_its_own_cursor_when_a_replay_met_another_epoch(bench: DispatcherBench) -> None:
    """I3: a path that was not confirmed yet is not counted as told, whatever ends the hold."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(50)
    need = bench.needs.replays.pop()
    bench.dispatcher.replayed(need, Replay(backlog=Backlog([], 100), expired=(), epoch=EPOCH + 1))
    bench.dispatcher.release(need.poll)
    assert ([], (EPOCH, 50, 0)) == (held.only.updates, held.only.cursor)


def test_woken_poll_is_not_shared_an_answer_when_its_replay_met_another_epoch(
    bench: DispatcherBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I3: the fan-out passes over a poll whose grants changed, and were not told, while it was in the queue."""
    monkeypatch.setattr(fanout, "SLICE", 1)
    uids = [bench.mint(), bench.mint()]
    for uid in uids:
        bench.connect("a", uid=uid)
    first, second = (bench.poll(100, acked=1, uid=uid) for uid in uids)
    bench.publish("a", "x")
    bench.put(record(2, {"a": grant(100), "b": grant(10, 2, since=2)}), uids[1])
    need = bench.needs.replays.pop()
    bench.dispatcher.replayed(need, Replay(backlog=Backlog([], 100), expired=(), epoch=EPOCH + 1))
    bench.run_slices()
    assert (True, False) == (first.is_done, second.is_done)


def test_replay_is_held_back_when_the_view_became_stale(bench: DispatcherBench) -> None:
    """I5: what was read for grants that may be wrong by now waits, and is read again."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(50, acked=1)
    bench.dispatcher.set_stale(is_stale=True)
    answer_replay(bench, [event(70, "a", "x")])
    assert not held.is_done
    bench.dispatcher.set_stale(is_stale=False)
    answer_replay(bench, [event(70, "a", "x")])
    assert [("a", "x")] == held.only.updates


def test_poll_is_refused_when_the_stream_can_not_be_read(bench: DispatcherBench) -> None:
    """The client comes back with the same cursor."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(50, acked=1)
    bench.dispatcher.unavailable(bench.needs.replays[0].poll, "late")
    assert [(503, 1)] == held.refusals


def test_replay_is_dropped_when_its_poll_has_ended(bench: DispatcherBench) -> None:
    """An answer that comes late finds nobody."""
    bench.put(record(1, {"a": grant(10)}))
    held = bench.poll(50, acked=1)
    bench.dispatcher.abandon(bench.needs.replays[0].poll)
    answer_replay(bench, [event(70, "a")])
    assert not held.is_done


def everything(bench: DispatcherBench, reply: FakeReply) -> list[list[tuple[str, str]]]:
    """Return the updates of `reply` and of the polls after it, until one waits."""
    found = []
    while reply.is_done:
        found.append(reply.only.updates)
        reply = bench.poll_at(reply.only.cursor)
    return found


def test_rest_comes_on_the_next_poll_when_there_are_too_many_updates(bench: DispatcherBench) -> None:
    """I7: an answer has 256 updates at most; the next poll is answered at once with the rest."""
    bench.connect("a")
    for number in range(MAX_UPDATES * 2 + 10):
        bench.publish("a", str(number))
    found = everything(bench, bench.poll(100, acked=1))
    assert [256, 256, 10] == [len(updates) for updates in found]
    assert [str(number) for number in range(522)] == [message for updates in found for _, message in updates]


def test_rest_comes_on_the_next_poll_when_an_answer_is_too_large(bench: DispatcherBench) -> None:
    """I7: an answer has 256 KiB of updates at most."""
    bench.connect("a")
    for _ in range(10):
        bench.publish("a", "x" * 60_000)
    found = everything(bench, bench.poll(100, acked=1))
    assert [4, 4, 2] == [len(updates) for updates in found]


@pytest.mark.parametrize("path_count", [3, 128])
def test_changes_count_when_an_answer_is_full(bench: DispatcherBench, path_count: int) -> None:
    """I7: confirmations, withdrawals and events together are 256 at most, and nothing is lost (I1)."""
    paths = {f"p{number}": grant(100) for number in range(path_count)}
    bench.put(record(1, paths, gone={f"g{number}": 1 for number in range(path_count)}))
    for number in range(300):
        bench.publish("p1", str(number))
    found = everything(bench, bench.poll(105))
    assert max(map(len, found)) <= MAX_UPDATES
    messages = [message for updates in found for path, message in updates if path == "p1" and message]
    assert [str(number) for number in range(300)] == messages


def test_changes_count_when_the_backlog_comes_from_the_stream(bench: DispatcherBench) -> None:
    """I7: the bound holds for what was read from the stream too."""
    paths = {f"p{number}": grant(10) for number in range(128)}
    bench.put(record(1, paths, gone={f"g{number}": 1 for number in range(100)}))
    held = bench.poll(100)
    answer_replay(bench, [event(11 + number, "p1") for number in range(80)])
    assert (MAX_UPDATES, 10 + 28) == (len(held.only.updates), held.only.cursor.seq)
