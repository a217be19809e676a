"""The dispatcher: what each poll receives, and when. No test here touches a socket or NATS."""

import time

import pytest

from ..dispatcher_support import EPOCH, DispatcherBench, FakeReply, grant, record

DISCONNECT = "::+::disconnect"


@pytest.fixture
def bench() -> DispatcherBench:
    """Return a dispatcher that follows an empty stream."""
    return DispatcherBench()


def test_welcome_gives_a_uid_and_the_cursor_of_now_when_a_client_begins(bench: DispatcherBench) -> None:
    """The first answer has no updates, and its uid is accepted."""
    bench.publish("tasks")
    reply = FakeReply()
    bench.dispatcher.welcome(reply)
    assert ([], EPOCH, 1, 0) == (reply.only.updates, *reply.only.cursor)
    assert bench.dispatcher.accepts(reply.only.uid)


def test_accepts_refuses_when_a_uid_is_forged(bench: DispatcherBench) -> None:
    """A uid of another key, or no uid at all, is not accepted."""
    assert [False, False, False] == [bench.dispatcher.accepts(uid) for uid in (b"", b"x" * 43, b"\xff" * 43)]


def test_accepts_takes_a_uid_when_it_has_a_record(bench: DispatcherBench) -> None:
    """The record was written for a uid that had been verified."""
    bench.put(record(1, {}), b"known")
    assert bench.dispatcher.accepts(b"known")


def test_poll_asks_the_store_once_when_its_uid_is_not_in_the_view(bench: DispatcherBench) -> None:
    """A poll waits for its record, and receives nothing before."""
    reply = bench.poll(0)
    assert ([bench.uid], False, 1) == (bench.asked, reply.is_done, len(bench.dispatcher.held))


def test_poll_is_held_when_its_uid_has_no_record(bench: DispatcherBench) -> None:
    """A client that has not been connected yet receives nothing, and what comes is no news to it."""
    bench.view.note_absent(bench.uid)
    reply = bench.poll(0)
    bench.publish("tasks")
    assert (False, []) == (reply.is_done, bench.asked)


def test_poll_confirms_when_its_path_is_granted_while_it_waits(bench: DispatcherBench) -> None:
    """The confirmation is an update with an empty message."""
    bench.view.note_absent(bench.uid)
    reply = bench.poll(0)
    bench.connect("tasks")
    assert ([("tasks", "")], bench.uid, 1) == (reply.only.updates, reply.only.uid, reply.only.cursor.grants)


def test_confirmation_repeats_until_acknowledged_when_answers_are_lost(bench: DispatcherBench) -> None:
    """I3: only the next cursor tells that a confirmation arrived."""
    bench.connect("tasks", "users/7")
    first, again = bench.poll(0).only, bench.poll(0).only
    assert [("tasks", ""), ("users/7", "")] == first.updates == again.updates
    assert not bench.poll_at(again.cursor).is_done


def test_withdrawal_repeats_until_acknowledged_when_answers_are_lost(bench: DispatcherBench) -> None:
    """I3: a disconnect notice names the path, and comes again to the same cursor."""
    bench.put(record(2, {"a": grant(0)}, gone={"b": 2}))
    notices = [bench.poll(0, acked=1).only for _ in range(2)]
    assert [[(DISCONNECT, "b")]] * 2 == [notice.updates for notice in notices]
    assert not bench.poll_at(notices[0].cursor).is_done


def test_changes_come_in_their_order_when_several_were_missed(bench: DispatcherBench) -> None:
    """A path granted after another was withdrawn is told after it."""
    bench.put(record(4, {"a": grant(0, 4), "c": grant(0, 2)}, gone={"b": 3}))
    assert [("c", ""), (DISCONNECT, "b"), ("a", "")] == bench.poll(0, acked=1).only.updates


def test_event_is_delivered_at_once_when_a_poll_waits_on_its_path(bench: DispatcherBench) -> None:
    """I1: the answer has the event and the cursor after it."""
    bench.connect("tasks")
    reply = bench.poll(0, acked=1)
    bench.publish("others", "no")
    bench.publish("tasks", "yes")
    assert ([("tasks", "yes")], 2) == (reply.only.updates, reply.only.cursor.seq)


def test_backlog_is_delivered_at_once_when_events_came_between_polls(bench: DispatcherBench) -> None:
    """I1, I2: what came since the cursor is told in order."""
    bench.connect("a", "b")
    for path in ("a", "b", "c", "a"):
        bench.publish(path, str(bench.ring.head))
    answer = bench.poll(1, acked=1).only
    assert ([("b", "1"), ("a", "3")], 4) == (answer.updates, answer.cursor.seq)


def test_lost_answer_comes_again_when_the_cursor_is_the_same(bench: DispatcherBench) -> None:
    """I3: the dispatcher keeps nothing of what it sent."""
    bench.connect("tasks")
    reply = bench.poll(0, acked=1)
    bench.publish("tasks", "1")
    bench.publish("tasks", "2")
    assert [("tasks", "1")] == reply.only.updates
    assert [("tasks", "1"), ("tasks", "2")] == bench.poll(0, acked=1).only.updates


def test_event_is_delivered_when_it_comes_between_register_and_recheck(bench: DispatcherBench) -> None:
    """I4: a poll is known before its record and its backlog are read, so that no event falls between."""
    held = bench.poll(0, acked=1)
    bench.publish("tasks", "between")
    bench.found(record(1, {"tasks": grant(0)}))
    assert ([("tasks", "between")], 1) == (held.only.updates, held.only.cursor.seq)


def test_older_poll_ends_with_its_own_cursor_when_a_newer_one_comes(bench: DispatcherBench) -> None:
    """The newest poll of a uid wins; the older one is told nothing and acknowledges nothing."""
    bench.connect("tasks")
    older = bench.poll(0, acked=1)
    bench.publish("others")
    newer = bench.poll(0, acked=1)
    bench.publish("tasks", "x")
    assert ([], 0) == (older.only.updates, older.only.cursor.seq)
    assert [("tasks", "x")] == newer.only.updates
    assert 0 == len(bench.dispatcher.held)


def test_event_is_not_told_when_it_came_before_the_grant(bench: DispatcherBench) -> None:
    """I5: a grant begins at its `from`, also for a client whose cursor is older."""
    for number in range(4):
        bench.publish("tasks", str(number))
    bench.connect("tasks", start=2)
    assert [("tasks", ""), ("tasks", "2"), ("tasks", "3")] == bench.poll(0).only.updates


def test_events_since_the_grant_come_when_the_position_is_past_it(bench: DispatcherBench) -> None:
    """I1: while a path was not granted here its events were passed over; the first answer with the path has them."""
    bench.connect("a")
    reply = bench.poll(0, acked=1)
    bench.publish("b", "missed")
    bench.publish("a", "1")
    assert 2 == reply.only.cursor.seq
    bench.put(record(2, {"a": grant(0), "b": grant(0, 2)}))
    assert [("b", ""), ("b", "missed")] == bench.poll_at(reply.only.cursor).only.updates


def test_confirming_again_repeats_no_events_when_the_path_is_known(bench: DispatcherBench) -> None:
    """A path that is confirmed again keeps its start, and the client its position."""
    bench.publish("a", "old")
    bench.put(record(2, {"a": {**grant(0, 2), "since": 1}}))
    assert [("a", "")] == bench.poll(1, acked=1).only.updates


def test_withdrawn_path_is_silent_when_an_event_follows(bench: DispatcherBench) -> None:
    """I5: the held poll learns of the withdrawal, the next one no event."""
    bench.connect("a", "b")
    reply = bench.poll(0, acked=1)
    bench.put(record(2, {"b": grant(0)}, gone={"a": 2}))
    assert [(DISCONNECT, "a")] == reply.only.updates
    held = bench.poll_at(reply.only.cursor)
    bench.publish("a", "secret")
    assert not held.is_done
    bench.publish("b", "received")
    assert [("b", "received")] == held.only.updates


def test_withdrawn_path_is_forgotten_when_nobody_else_waits_on_it(bench: DispatcherBench) -> None:
    """I5, I7: a poll does not stay registered where its client may receive nothing any more."""
    bench.connect("a")
    bench.poll(0, acked=1)
    assert len(bench.dispatcher.held.by_path) == 1
    bench.put(record(2, {}, gone={"a": 2}))
    assert len(bench.dispatcher.held.by_path) == 0


def test_path_is_silent_when_its_grant_has_ended(bench: DispatcherBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: a grant ends when its time comes, also under a held poll."""
    soon = time.time() + 50
    bench.put(record(1, {"a": grant(0, until=soon), "b": grant(0)}))
    held = bench.poll(0, acked=1)
    monkeypatch.setattr(time, "time", lambda: soon)
    bench.publish("a", "secret")
    assert not held.is_done
    bench.publish("b", "received")
    assert [("b", "received")] == held.only.updates


def test_client_begins_anew_when_its_record_is_gone(bench: DispatcherBench) -> None:
    """It gets a new uid, and so connects its paths again."""
    bench.connect("tasks")
    held = bench.poll(0, acked=1)
    bench.put(b"")
    assert [bench.uid] == bench.asked
    bench.found()
    assert bench.uid != held.only.uid
    assert ([], 0) == (held.only.updates, held.only.cursor.grants)


@pytest.mark.parametrize("known", [None, 1])
def test_client_is_not_sent_away_when_only_this_replica_lags(bench: DispatcherBench, known: int | None) -> None:
    """I6: a cursor that tells of changes unknown here makes the replica ask the store before it gives a new uid."""
    if known is None:
        bench.view.note_absent(bench.uid)
    else:
        bench.connect("a")
    bench.publish("b", "x")
    held = bench.poll(0, acked=2)
    assert ([bench.uid], False) == (bench.asked, held.is_done)
    bench.found(record(2, {"a": grant(0), "b": grant(0, 2)}))
    assert [("b", "x")] == held.only.updates


def test_live_record_does_not_end_a_poll_when_it_is_older_than_its_cursor(bench: DispatcherBench) -> None:
    """I6: the live way may bring changes 1 and 2 while the client knows of 3; the store's answer decides."""
    bench.view.note_absent(bench.uid)
    held = bench.poll(0, acked=3)
    bench.put(record(1, {"a": grant(0)}))
    bench.put(record(2, {"a": grant(0, 2)}))
    assert not held.is_done
    bench.put(record(3, {"a": grant(0, 3)}))
    bench.publish("a", "x")
    assert [("a", "x")] == held.only.updates


def test_older_question_does_not_end_a_poll_when_its_answer_is_older_than_the_cursor(bench: DispatcherBench) -> None:
    """I6: what was read from the store before a poll came says nothing about what its client was told since."""
    superseded = bench.poll(0)
    held = bench.poll(0, acked=2)
    bench.found(record(1, {"a": grant(0)}), 1)
    assert (True, False) == (superseded.is_done, held.is_done)
    bench.found(record(2, {"a": grant(0, 2)}), 2)
    bench.publish("a", "x")
    assert [("a", "x")] == held.only.updates


def test_client_begins_again_when_the_store_has_no_newer_record_than_this_replica(bench: DispatcherBench) -> None:
    """I6: a record that was deleted and written again lacks what was acknowledged; the store's answer ends the poll."""
    bench.connect("a")
    held = bench.poll(0, acked=2)
    (poll,) = bench.needs.lookups
    bench.dispatcher.grants_found(poll, poll.client)
    assert bench.uid != held.only.uid
    assert ([], 0) == (held.only.updates, held.only.cursor.grants)


def test_gap_is_told_when_the_cursor_is_of_another_epoch(bench: DispatcherBench) -> None:
    """I9: every path has a gap, and the cursor is the one of now."""
    bench.connect("a", "b")
    bench.publish("a")
    answer = bench.poll(0, acked=1, epoch=EPOCH - 1).only
    assert ([("a", "epoch"), ("b", "epoch")], (EPOCH, 1, 1)) == (answer.gaps, answer.cursor)


def test_gap_is_told_when_the_stream_begins_anew_under_a_held_poll(bench: DispatcherBench) -> None:
    """I9: held polls learn of it at once."""
    bench.connect("a")
    held = bench.poll(0, acked=1)
    bench.dispatcher.begin(EPOCH + 5, 0, [], 3)
    assert ([("a", "epoch")], (EPOCH + 5, 3, 1)) == (held.only.gaps, held.only.cursor)


def test_poll_waits_when_its_cursor_is_ahead_of_this_replica(bench: DispatcherBench) -> None:
    """I6: a replica that lags answers once it has caught up, with what comes after the cursor."""
    bench.connect("a")
    held = bench.poll(2, acked=1)
    bench.publish("a", "1")
    bench.publish("a", "2")
    assert (False, 1) == (held.is_done, bench.needs.head_checks)
    bench.publish("a", "3")
    assert [("a", "3")] == held.only.updates


def test_gap_is_told_when_the_cursor_stays_ahead_of_the_stream(bench: DispatcherBench) -> None:
    """I9: a position that the stream does not reach is of no use; the first check may have begun too early."""
    bench.connect("a")
    held = bench.poll(5, acked=1)
    bench.dispatcher.head_checked()
    assert (False, 2) == (held.is_done, bench.needs.head_checks)
    bench.dispatcher.head_checked()
    assert ([("a", "epoch")], 0) == (held.only.gaps, held.only.cursor.seq)
