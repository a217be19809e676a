"""Fan-out: slices of woken polls, and what happens between them."""

import pytest

from roots_longpoll.fanout import SLICE
from roots_longpoll.poll import Limits

from .desk_support import FakeReply, Office, grant, record

CLIENTS = SLICE * 2 + 40


@pytest.fixture
def office() -> Office:
    """Return a desk."""
    return Office()


def hold(office: Office, count: int = CLIENTS, *paths: str) -> list[FakeReply]:
    """Return the replies of so many clients that wait on `paths`, on "a" when none are given."""
    replies = []
    for _ in range(count):
        uid = office.mint()
        office.connect(*(paths or ("a",)), uid=uid)
        replies.append(office.poll(office.ring.head, told=1, uid=uid))
    return replies


def heard(replies: list[FakeReply]) -> list[list[str] | None]:
    """Return the messages that each client got, None for one that still waits."""
    return [[message for _, message in reply.only.updates] if reply.is_done else None for reply in replies]


def test_all_hear_once_when_they_are_more_than_a_slice(office: Office) -> None:
    """I1, I7: the first slice is answered at once, the others after other work."""
    replies = hold(office)
    office.publish("a", "x")
    assert SLICE == sum(reply.is_done for reply in replies)
    office.outside.run_deferred()
    assert [["x"]] * CLIENTS == heard(replies)
    assert (CLIENTS, 0, 0) == (office.stats.deliveries, office.desk.held_count, office.desk.paths_heard)


def test_late_slices_hear_both_when_an_event_comes_between(office: Office) -> None:
    """I1, I2: who was not yet answered gets the events together, in order, and none twice."""
    replies = hold(office)
    office.publish("a", "1")
    office.publish("a", "2")
    office.outside.run_deferred()
    assert [["1"]] * SLICE + [["1", "2"]] * (CLIENTS - SLICE) == heard(replies)


def test_answered_client_hears_the_next_event_when_it_polls_between_slices(office: Office) -> None:
    """I1, I2: its new poll is woken by what came after its cursor only."""
    replies = hold(office)
    office.publish("a", "1")
    again = office.poll_at(replies[0].only.cursor, replies[0].only.uid)
    office.publish("a", "2")
    office.outside.run_deferred()
    assert [["2"]] == heard([again])


def test_other_path_is_heard_too_when_it_has_an_event_between_slices(office: Office) -> None:
    """I1, I2: a poll that is woken by one path hears the other in the same answer, in order."""
    replies = hold(office, CLIENTS, "a", "b")
    office.publish("a", "1")
    office.publish("b", "2")
    office.outside.run_deferred()
    assert [["1"]] * SLICE + [["1", "2"]] * (CLIENTS - SLICE) == heard(replies)


def test_ended_polls_are_passed_over_when_a_slice_comes(office: Office) -> None:
    """A poll that was abandoned, released or replaced between slices is not answered again."""
    replies = hold(office)
    polls = office.desk.polls
    office.publish("a", "x")
    gone, withdrawn, replaced, released = polls[-4:]
    office.desk.abandon(gone)
    office.put(record(2, {}, gone={"a": 2}), withdrawn.uid)
    again = office.poll(0, told=1, uid=replaced.uid)
    office.desk.release(released)
    office.outside.run_deferred()
    assert [None, ["a"], [], ["x"]] == heard(replies[-4:])
    assert [["x"]] == heard([again])


def test_hold_does_not_end_a_poll_when_an_event_has_woken_it(office: Office) -> None:
    """I1: a poll in the queue is not sent away with a cursor past its event."""
    replies = hold(office)
    office.publish("a", "x")
    for poll in office.desk.polls:
        office.desk.release(poll)
    office.outside.run_deferred()
    assert [["x"]] * CLIENTS == heard(replies)


def test_client_hears_nothing_before_its_grant_when_it_shares_a_slice(office: Office) -> None:
    """I5: a later `from` is kept also where others get the event."""
    early, late = hold(office, 2)
    office.put(record(1, {"a": grant(5)}), office.uid)
    future = office.poll(0, told=1)
    office.publish("a", "1")
    assert [["1"], ["1"], None] == heard([early, late, future])


def test_slices_read_the_stream_when_the_ring_has_lost_the_event() -> None:
    """I1: with a ring too small for the event, the woken polls go to the stream."""
    office = Office(ring_bytes=1)
    replies = hold(office, 3)
    office.publish("a", "x")
    assert (3, [None] * 3) == (len(office.outside.replays), heard(replies))


def test_rest_follows_on_the_next_poll_when_a_slice_has_too_many_events(office: Office) -> None:
    """I7: the bound holds for shared answers too."""
    small = Office(limits=Limits(max_updates=2))
    replies = hold(small)
    for number in range(5):
        small.publish("a", str(number))
    small.outside.run_deferred()
    assert ["0", "1"] == heard(replies)[-1]
    last = replies[-1].only
    assert [["2", "3"]] == heard([small.poll_at(last.cursor, last.uid)])
