"""The dispatcher: how polls end when there is nothing to tell, nobody to tell it to, or no way to know."""

import time

import pytest

from roots.contracts.timing import MAX_HOLD_SECONDS
from roots_longpoll.delivery import dispatcher as dispatcher_module
from roots_longpoll.delivery import holds
from roots_longpoll.delivery.poll import Limits, Poll
from roots_longpoll.delivery.stats import Outcome

from ..dispatcher_support import EPOCH, DispatcherBench, grant, record

DISCONNECT = "::+::disconnect"


@pytest.fixture
def bench() -> DispatcherBench:
    """Return a dispatcher that follows an empty stream."""
    return DispatcherBench()


def test_answers_are_held_back_when_the_view_is_stale(bench: DispatcherBench) -> None:
    """I5: events come again once the view is fresh."""
    bench.connect("a")
    held = bench.poll(0, acked=1)
    bench.dispatcher.set_stale(is_stale=True)
    bench.publish("a", "x")
    other = bench.mint()
    bench.connect("a", start=0, uid=other)
    late = bench.poll(0, acked=1, uid=other)
    assert (False, False) == (held.is_done, late.is_done)
    bench.dispatcher.set_stale(is_stale=False)
    assert [[("a", "x")]] * 2 == [reply.only.updates for reply in (held, late)]


def test_hold_ends_with_the_cursor_moved_on_when_no_event_came(
    bench: DispatcherBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filtered events count as considered."""
    bench.connect("a")
    held = bench.poll(0, acked=1)
    bench.publish("b")
    _end_holds(bench, monkeypatch)
    assert ([], (EPOCH, 1, 1), None) == (held.only.updates, held.only.cursor, held.only.retry)
    assert 1 == sum(bench.stats.hold[Outcome.TIMEOUT].counts)


def test_hold_ends_with_its_own_cursor_when_the_view_is_stale(
    bench: DispatcherBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1: events that were held back are not passed over."""
    bench.connect("a")
    held = bench.poll(0, acked=1)
    bench.dispatcher.set_stale(is_stale=True)
    bench.publish("a", "x")
    _end_holds(bench, monkeypatch)
    assert ([], 0) == (held.only.updates, held.only.cursor.seq)


def test_hold_ends_after_the_reading_when_its_time_ran_out_meanwhile(
    bench: DispatcherBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: a poll whose record came late is not held beyond its time."""
    held = bench.poll(0)
    _end_holds(bench, monkeypatch)
    assert not held.is_done
    bench.found()
    assert [] == held.only.updates


def _end_holds(bench: DispatcherBench, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.monotonic() + 2 * MAX_HOLD_SECONDS

    class Later:
        monotonic = staticmethod(lambda: later)

    monkeypatch.setattr(holds, "time", Later)
    bench.dispatcher.tick()


def test_poll_is_refused_when_the_store_has_no_answer_in_time(bench: DispatcherBench) -> None:
    """A client that can't be served is told to come back."""
    reply = bench.poll(0)
    (poll,) = bench.dispatcher.held.polls
    bench.dispatcher.unavailable(poll, "late")
    assert ([(503, 1)], 0) == (reply.refusals, len(bench.dispatcher.held))


def test_held_poll_stays_when_the_store_has_no_answer_in_time(bench: DispatcherBench) -> None:
    """What was known goes on until something newer is."""
    bench.connect("a")
    held = bench.poll(0, acked=1)
    (poll,) = bench.dispatcher.held.polls
    bench.dispatcher.unavailable(poll, "late")
    bench.publish("a", "x")
    assert [("a", "x")] == held.only.updates


def test_every_record_is_asked_for_when_grants_are_forgotten(bench: DispatcherBench) -> None:
    """I5, I9: what was known of held polls may be wrong."""
    bench.connect("a")
    held = bench.poll(0, acked=1)
    bench.dispatcher.forget_grants()
    assert [bench.uid] == bench.asked
    bench.put(record(2, {}, gone={"a": 2}))
    assert [(DISCONNECT, "a")] == held.only.updates


def test_client_begins_anew_when_its_record_comes_after_its_end(bench: DispatcherBench) -> None:
    """I5: a change of the end alone wakes no poll, but a poll is not held for a record that is over."""
    bench.connect("a")
    held = bench.poll(0, acked=1)
    bench.put(record(1, {"a": grant(0)}, expires=time.time() + 60))
    assert ([], False) == (bench.asked, held.is_done)
    bench.put(record(1, {"a": grant(0)}, expires=time.time() - 1))
    assert [bench.uid] == bench.asked
    bench.found()
    assert bench.uid != held.only.uid


def test_abandoned_poll_leaves_nothing_when_its_client_goes(bench: DispatcherBench) -> None:
    """I3, I7: no trace is left, and the next poll receives what came."""
    bench.connect("a")
    gone = bench.poll(0, acked=1)
    (poll,) = bench.dispatcher.held.polls
    bench.dispatcher.abandon(poll)
    bench.dispatcher.abandon(poll)
    bench.publish("a", "x")
    assert (False, 0, 0) == (gone.is_done, len(bench.dispatcher.held), len(bench.dispatcher.held.by_path))
    assert [("a", "x")] == bench.poll(0, acked=1).only.updates
    assert 1 == sum(bench.stats.hold[Outcome.GONE].counts)


def test_poll_is_refused_when_the_replica_is_full() -> None:
    """I7: over the limit there is a clear answer; a client's own older poll makes room for its newer one."""
    bench = DispatcherBench(limits=Limits(max_held=1))
    bench.connect("a")
    bench.poll(0, acked=1)
    other = bench.mint()
    bench.connect("a", uid=other)
    assert [(503, 1)] == bench.poll(0, acked=1, uid=other).refusals
    assert not bench.poll(0, acked=1).is_done


def test_released_poll_is_told_when_to_come_back_when_the_replica_drains(bench: DispatcherBench) -> None:
    """I8: it gets the cursor of now and a wait of its own; polls that still come are answered at once."""
    bench.connect("a")
    held = bench.poll(0, acked=1)
    bench.dispatcher.is_draining = True
    (poll,) = bench.dispatcher.held.polls
    bench.dispatcher.release(poll)
    late = bench.poll(0, acked=1)
    low, high = dispatcher_module.DRAIN_RETRY_MS
    for reply in (held, late):
        assert reply.only.retry is not None
        assert low <= reply.only.retry <= high
    assert [] == held.only.updates


def test_served_uids_are_reported_once_when_they_have_a_record(bench: DispatcherBench) -> None:
    """Their records are kept; uids without one have nothing to keep."""
    bench.connect("a")
    bench.poll(0, acked=1)
    stranger = bench.mint()
    bench.view.note_absent(stranger)
    bench.poll(0, uid=stranger)
    assert ({bench.uid}, set()) == (bench.view.take_served(), bench.view.take_served())


def test_nothing_is_sent_when_a_poll_is_done(bench: DispatcherBench) -> None:
    """What comes late for an answered poll is dropped."""
    bench.connect("a")
    reply = bench.poll(0, acked=1)
    (poll,) = bench.dispatcher.held.polls
    bench.publish("a")
    for late in (bench.dispatcher.abandon, bench.dispatcher.finish_early, bench.dispatcher.release):
        late(poll)
    bench.dispatcher.unavailable(poll, "late")
    assert isinstance(poll, Poll)
    assert 1 == len(reply.answers)
