"""The desk: what each poll hears, and when. No test here touches a socket or NATS."""

import time

import pytest

from .desk_support import EPOCH, FakeReply, Office, grant, record

DISCONNECT = "::+::disconnect"


@pytest.fixture
def office() -> Office:
    """Return a desk that follows an empty stream."""
    return Office()


def test_welcome_gives_a_uid_and_the_cursor_of_now_when_a_client_begins(office: Office) -> None:
    """The first answer has no updates, and its uid is accepted."""
    office.publish("tasks")
    reply = FakeReply()
    office.desk.welcome(reply)
    assert ([], EPOCH, 1, 0) == (reply.only.updates, *reply.only.cursor)
    assert office.desk.accepts(reply.only.uid)


def test_accepts_refuses_when_a_uid_is_forged(office: Office) -> None:
    """A uid of another key, or no uid at all, is not accepted."""
    assert [False, False, False] == [office.desk.accepts(uid) for uid in (b"", b"x" * 43, b"\xff" * 43)]


def test_accepts_takes_a_uid_when_it_has_a_record(office: Office) -> None:
    """The record was written for a uid that had been verified."""
    office.put(record(1, {}), b"known")
    assert office.desk.accepts(b"known")


def test_poll_asks_the_store_once_when_its_uid_is_not_in_the_view(office: Office) -> None:
    """A poll waits for its record, and hears nothing before."""
    reply = office.poll(0)
    assert ([office.uid], False, 1) == (office.asked, reply.is_done, office.desk.held_count)


def test_poll_is_held_when_its_uid_has_no_record(office: Office) -> None:
    """A client that has not been connected yet hears nothing, and what comes is no news to it."""
    office.view.note_absent(office.uid)
    reply = office.poll(0)
    office.publish("tasks")
    assert (False, []) == (reply.is_done, office.asked)


def test_poll_confirms_when_its_path_is_granted_while_it_waits(office: Office) -> None:
    """The confirmation is an update with an empty message."""
    office.view.note_absent(office.uid)
    reply = office.poll(0)
    office.connect("tasks")
    assert ([("tasks", "")], office.uid, 1) == (reply.only.updates, reply.only.uid, reply.only.cursor.grants)


def test_confirmation_repeats_until_acknowledged_when_answers_are_lost(office: Office) -> None:
    """I3: only the next cursor tells that a confirmation arrived."""
    office.connect("tasks", "users/7")
    first, again = office.poll(0).only, office.poll(0).only
    assert [("tasks", ""), ("users/7", "")] == first.updates == again.updates
    assert not office.poll_at(again.cursor).is_done


def test_withdrawal_repeats_until_acknowledged_when_answers_are_lost(office: Office) -> None:
    """I3: a disconnect notice names the path, and comes again to the same cursor."""
    office.put(record(2, {"a": grant(0)}, gone={"b": 2}))
    notices = [office.poll(0, told=1).only for _ in range(2)]
    assert [[(DISCONNECT, "b")]] * 2 == [notice.updates for notice in notices]
    assert not office.poll_at(notices[0].cursor).is_done


def test_changes_come_in_their_order_when_several_were_missed(office: Office) -> None:
    """A path granted after another was withdrawn is told after it."""
    office.put(record(4, {"a": grant(0, 4), "c": grant(0, 2)}, gone={"b": 3}))
    assert [("c", ""), (DISCONNECT, "b"), ("a", "")] == office.poll(0, told=1).only.updates


def test_event_is_delivered_at_once_when_a_poll_waits_on_its_path(office: Office) -> None:
    """I1: the answer has the event and the cursor after it."""
    office.connect("tasks")
    reply = office.poll(0, told=1)
    office.publish("others", "no")
    office.publish("tasks", "yes")
    assert ([("tasks", "yes")], 2) == (reply.only.updates, reply.only.cursor.seq)


def test_backlog_is_delivered_at_once_when_events_came_between_polls(office: Office) -> None:
    """I1, I2: what came since the cursor is told in order."""
    office.connect("a", "b")
    for path in ("a", "b", "c", "a"):
        office.publish(path, str(office.ring.head))
    answer = office.poll(1, told=1).only
    assert ([("b", "1"), ("a", "3")], 4) == (answer.updates, answer.cursor.seq)


def test_lost_answer_comes_again_when_the_cursor_is_the_same(office: Office) -> None:
    """I3: the desk keeps nothing of what it sent."""
    office.connect("tasks")
    reply = office.poll(0, told=1)
    office.publish("tasks", "1")
    office.publish("tasks", "2")
    assert [("tasks", "1")] == reply.only.updates
    assert [("tasks", "1"), ("tasks", "2")] == office.poll(0, told=1).only.updates


def test_event_is_delivered_when_it_comes_between_register_and_recheck(office: Office) -> None:
    """I4: a poll is known before its record and its backlog are read, so that no event falls between."""
    held = office.poll(0, told=1)
    office.publish("tasks", "between")
    office.found(record(1, {"tasks": grant(0)}))
    assert ([("tasks", "between")], 1) == (held.only.updates, held.only.cursor.seq)


def test_older_poll_ends_with_its_own_cursor_when_a_newer_one_comes(office: Office) -> None:
    """The newest poll of a uid wins; the older one is told nothing and acknowledges nothing."""
    office.connect("tasks")
    older = office.poll(0, told=1)
    office.publish("others")
    newer = office.poll(0, told=1)
    office.publish("tasks", "x")
    assert ([], 0) == (older.only.updates, older.only.cursor.seq)
    assert [("tasks", "x")] == newer.only.updates
    assert 0 == office.desk.held_count


def test_event_is_not_told_when_it_came_before_the_grant(office: Office) -> None:
    """I5: a grant begins at its `from`, also for a client whose cursor is older."""
    for number in range(4):
        office.publish("tasks", str(number))
    office.connect("tasks", start=2)
    assert [("tasks", ""), ("tasks", "2"), ("tasks", "3")] == office.poll(0).only.updates


def test_events_since_the_grant_come_when_the_position_is_past_it(office: Office) -> None:
    """I1: while a path was not granted here its events were passed over; the first answer with the path has them."""
    office.connect("a")
    reply = office.poll(0, told=1)
    office.publish("b", "missed")
    office.publish("a", "1")
    assert 2 == reply.only.cursor.seq
    office.put(record(2, {"a": grant(0), "b": grant(0, 2)}))
    assert [("b", ""), ("b", "missed")] == office.poll_at(reply.only.cursor).only.updates


def test_confirming_again_repeats_no_events_when_the_path_is_known(office: Office) -> None:
    """A path that is confirmed again keeps its start, and the client its position."""
    office.publish("a", "old")
    office.put(record(2, {"a": {**grant(0, 2), "since": 1}}))
    assert [("a", "")] == office.poll(1, told=1).only.updates


def test_withdrawn_path_is_silent_when_an_event_follows(office: Office) -> None:
    """I5: the held poll hears of the withdrawal, the next one no event."""
    office.connect("a", "b")
    reply = office.poll(0, told=1)
    office.put(record(2, {"b": grant(0)}, gone={"a": 2}))
    assert [(DISCONNECT, "a")] == reply.only.updates
    held = office.poll_at(reply.only.cursor)
    office.publish("a", "secret")
    assert not held.is_done
    office.publish("b", "heard")
    assert [("b", "heard")] == held.only.updates


def test_withdrawn_path_is_forgotten_when_nobody_else_waits_on_it(office: Office) -> None:
    """I5, I7: a poll does not stay registered where its client may hear nothing any more."""
    office.connect("a")
    office.poll(0, told=1)
    assert office.desk.paths_heard == 1
    office.put(record(2, {}, gone={"a": 2}))
    assert office.desk.paths_heard == 0


def test_path_is_silent_when_its_grant_has_ended(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """I5: a grant ends when its time comes, also under a held poll."""
    soon = time.time() + 50
    office.put(record(1, {"a": grant(0, until=soon), "b": grant(0)}))
    held = office.poll(0, told=1)
    monkeypatch.setattr(time, "time", lambda: soon)
    office.publish("a", "secret")
    assert not held.is_done
    office.publish("b", "heard")
    assert [("b", "heard")] == held.only.updates


def test_client_begins_anew_when_its_record_is_gone(office: Office) -> None:
    """It gets a new uid, and so connects its paths again."""
    office.connect("tasks")
    held = office.poll(0, told=1)
    office.put(b"")
    assert [office.uid] == office.asked
    office.found()
    assert office.uid != held.only.uid
    assert ([], 0) == (held.only.updates, held.only.cursor.grants)


@pytest.mark.parametrize("known", [None, 1])
def test_client_is_not_sent_away_when_only_this_replica_lags(office: Office, known: int | None) -> None:
    """I6: a cursor that tells of changes unknown here makes the replica ask the store before it gives a new uid."""
    if known is None:
        office.view.note_absent(office.uid)
    else:
        office.connect("a")
    office.publish("b", "x")
    held = office.poll(0, told=2)
    assert ([office.uid], False) == (office.asked, held.is_done)
    office.found(record(2, {"a": grant(0), "b": grant(0, 2)}))
    assert [("b", "x")] == held.only.updates


def test_live_record_does_not_end_a_poll_when_it_is_older_than_its_cursor(office: Office) -> None:
    """I6: the live way may bring changes 1 and 2 while the client knows of 3; the store's answer decides."""
    office.view.note_absent(office.uid)
    held = office.poll(0, told=3)
    office.put(record(1, {"a": grant(0)}))
    office.put(record(2, {"a": grant(0, 2)}))
    assert not held.is_done
    office.put(record(3, {"a": grant(0, 3)}))
    office.publish("a", "x")
    assert [("a", "x")] == held.only.updates


def test_older_question_does_not_end_a_poll_when_its_answer_is_older_than_the_cursor(office: Office) -> None:
    """I6: what was read from the store before a poll came says nothing about what its client was told since."""
    superseded = office.poll(0)
    held = office.poll(0, told=2)
    office.found(record(1, {"a": grant(0)}), 1)
    assert (True, False) == (superseded.is_done, held.is_done)
    office.found(record(2, {"a": grant(0, 2)}), 2)
    office.publish("a", "x")
    assert [("a", "x")] == held.only.updates


def test_gap_is_told_when_the_cursor_is_of_another_epoch(office: Office) -> None:
    """I9: every path has a gap, and the cursor is the one of now."""
    office.connect("a", "b")
    office.publish("a")
    answer = office.poll(0, told=1, epoch=EPOCH - 1).only
    assert ([("a", "epoch"), ("b", "epoch")], (EPOCH, 1, 1)) == (answer.gaps, answer.cursor)


def test_gap_is_told_when_the_stream_begins_anew_under_a_held_poll(office: Office) -> None:
    """I9: held polls hear of it at once."""
    office.connect("a")
    held = office.poll(0, told=1)
    office.desk.begin(EPOCH + 5, 0, [], 3)
    assert ([("a", "epoch")], (EPOCH + 5, 3, 1)) == (held.only.gaps, held.only.cursor)


def test_poll_waits_when_its_cursor_is_ahead_of_this_replica(office: Office) -> None:
    """I6: a replica that lags answers once it has caught up, with what comes after the cursor."""
    office.connect("a")
    held = office.poll(2, told=1)
    office.publish("a", "1")
    office.publish("a", "2")
    assert (False, 1) == (held.is_done, office.outside.head_checks)
    office.publish("a", "3")
    assert [("a", "3")] == held.only.updates


def test_gap_is_told_when_the_cursor_stays_ahead_of_the_stream(office: Office) -> None:
    """I9: a position that the stream does not reach is of no use; the first check may have begun too early."""
    office.connect("a")
    held = office.poll(5, told=1)
    office.desk.head_checked()
    assert (False, 2) == (held.is_done, office.outside.head_checks)
    office.desk.head_checked()
    assert ([("a", "epoch")], 0) == (held.only.gaps, held.only.cursor.seq)
