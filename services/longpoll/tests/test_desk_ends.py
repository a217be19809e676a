"""The desk: how polls end when there is nothing to tell, nobody to tell it to, or no way to know."""

import time

import pytest

from roots.contracts.timing import MAX_HOLD_SECONDS
from roots_longpoll.delivery import dispatcher as desk_module
from roots_longpoll.delivery import holds
from roots_longpoll.delivery.poll import Limits, Poll
from roots_longpoll.delivery.stats import Outcome

from .desk_support import EPOCH, Office, grant, record

DISCONNECT = "::+::disconnect"


@pytest.fixture
def office() -> Office:
    """Return a desk that follows an empty stream."""
    return Office()


def test_answers_are_held_back_when_the_view_is_stale(office: Office) -> None:
    """I5: events come again once the view is fresh."""
    office.connect("a")
    held = office.poll(0, told=1)
    office.desk.set_stale(is_stale=True)
    office.publish("a", "x")
    other = office.mint()
    office.connect("a", start=0, uid=other)
    late = office.poll(0, told=1, uid=other)
    assert (False, False) == (held.is_done, late.is_done)
    office.desk.set_stale(is_stale=False)
    assert [[("a", "x")]] * 2 == [reply.only.updates for reply in (held, late)]


def test_hold_ends_with_the_cursor_moved_on_when_no_event_came(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Filtered events count as considered."""
    office.connect("a")
    held = office.poll(0, told=1)
    office.publish("b")
    _end_holds(office, monkeypatch)
    assert ([], (EPOCH, 1, 1), None) == (held.only.updates, held.only.cursor, held.only.retry)
    assert 1 == sum(office.stats.hold[Outcome.TIMEOUT].counts)


def test_hold_ends_with_its_own_cursor_when_the_view_is_stale(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1: events that were held back are not passed over."""
    office.connect("a")
    held = office.poll(0, told=1)
    office.desk.set_stale(is_stale=True)
    office.publish("a", "x")
    _end_holds(office, monkeypatch)
    assert ([], 0) == (held.only.updates, held.only.cursor.seq)


def test_hold_ends_after_the_reading_when_its_time_ran_out_meanwhile(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: a poll whose record came late is not held beyond its time."""
    held = office.poll(0)
    _end_holds(office, monkeypatch)
    assert not held.is_done
    office.found()
    assert [] == held.only.updates


def _end_holds(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.monotonic() + 2 * MAX_HOLD_SECONDS

    class Later:
        monotonic = staticmethod(lambda: later)

    monkeypatch.setattr(holds, "time", Later)
    office.desk.tick()


def test_poll_is_refused_when_the_store_has_no_answer_in_time(office: Office) -> None:
    """A client that can't be served is told to come back."""
    reply = office.poll(0)
    (poll,) = office.desk.polls
    office.desk.unavailable(poll, "late")
    assert ([(503, 1)], 0) == (reply.refusals, office.desk.held_count)


def test_held_poll_stays_when_the_store_has_no_answer_in_time(office: Office) -> None:
    """What was known goes on until something newer is."""
    office.connect("a")
    held = office.poll(0, told=1)
    (poll,) = office.desk.polls
    office.desk.unavailable(poll, "late")
    office.publish("a", "x")
    assert [("a", "x")] == held.only.updates


def test_every_record_is_asked_for_when_grants_are_forgotten(office: Office) -> None:
    """I5, I9: what was known of held polls may be wrong."""
    office.connect("a")
    held = office.poll(0, told=1)
    office.desk.forget_grants()
    assert [office.uid] == office.asked
    office.put(record(2, {}, gone={"a": 2}))
    assert [(DISCONNECT, "a")] == held.only.updates


def test_client_begins_anew_when_its_record_comes_after_its_end(office: Office) -> None:
    """I5: a change of the end alone wakes no poll, but a poll is not held for a record that is over."""
    office.connect("a")
    held = office.poll(0, told=1)
    office.put(record(1, {"a": grant(0)}, expires=time.time() + 60))
    assert ([], False) == (office.asked, held.is_done)
    office.put(record(1, {"a": grant(0)}, expires=time.time() - 1))
    assert [office.uid] == office.asked
    office.found()
    assert office.uid != held.only.uid


def test_abandoned_poll_leaves_nothing_when_its_client_goes(office: Office) -> None:
    """I3, I7: no trace is left, and the next poll hears what came."""
    office.connect("a")
    gone = office.poll(0, told=1)
    (poll,) = office.desk.polls
    office.desk.abandon(poll)
    office.desk.abandon(poll)
    office.publish("a", "x")
    assert (False, 0, 0) == (gone.is_done, office.desk.held_count, office.desk.paths_heard)
    assert [("a", "x")] == office.poll(0, told=1).only.updates
    assert 1 == sum(office.stats.hold[Outcome.GONE].counts)


def test_poll_is_refused_when_the_replica_is_full() -> None:
    """I7: over the limit there is a clear answer; a client's own older poll makes room for its newer one."""
    office = Office(limits=Limits(max_held=1))
    office.connect("a")
    office.poll(0, told=1)
    other = office.mint()
    office.connect("a", uid=other)
    assert [(503, 1)] == office.poll(0, told=1, uid=other).refusals
    assert not office.poll(0, told=1).is_done


def test_released_poll_is_told_when_to_come_back_when_the_replica_drains(office: Office) -> None:
    """I8: it gets the cursor of now and a wait of its own; polls that still come are answered at once."""
    office.connect("a")
    held = office.poll(0, told=1)
    office.desk.is_draining = True
    (poll,) = office.desk.polls
    office.desk.release(poll)
    late = office.poll(0, told=1)
    low, high = desk_module.DRAIN_RETRY_MS
    for reply in (held, late):
        assert reply.only.retry is not None
        assert low <= reply.only.retry <= high
    assert [] == held.only.updates


def test_served_uids_are_reported_once_when_they_have_a_record(office: Office) -> None:
    """Their records are kept; uids without one have nothing to keep."""
    office.connect("a")
    office.poll(0, told=1)
    stranger = office.mint()
    office.view.note_absent(stranger)
    office.poll(0, uid=stranger)
    assert ({office.uid}, set()) == (office.desk.take_served(), office.desk.take_served())


def test_nothing_is_sent_when_a_poll_is_done(office: Office) -> None:
    """What comes late for an answered poll is dropped."""
    office.connect("a")
    reply = office.poll(0, told=1)
    (poll,) = office.desk.polls
    office.publish("a")
    for late in (office.desk.abandon, office.desk.finish_early, office.desk.release):
        late(poll)
    office.desk.unavailable(poll, "late")
    assert isinstance(poll, Poll)
    assert 1 == len(reply.answers)
