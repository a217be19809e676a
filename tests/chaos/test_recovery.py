"""How the time of a recovery is found in a hand-made history."""

from .hand import client, event, history, poll, told
from .history import Fault, History
from .log import Log
from .recovery import Recovery, recoveries


def _fault(kind: str, target: str, began_at: float, ready_at: float) -> Fault:
    return Fault(kind=kind, target=target, began_at=began_at, over_at=ready_at, ready_at=ready_at)


def _history(*faults: Fault) -> History:
    """Return events at 1, 5 (on `tasks`) and 8 s, each heard half a second later, the last by way of `longpoll-2`."""
    answers = [
        poll((0, 1), (1, 1), *told(1), at=1.5),
        poll((1, 1), (5, 1), *told(5, path="tasks"), at=5.5),
        poll((5, 1), (8, 1), *told(8), at=8.5, via="longpoll-2"),
    ]
    return history([client(answers)], events=[event(1), event(5, "tasks"), event(8)], faults=list(faults))


def _found(run: History) -> list[Recovery]:
    return recoveries(run, Log(run.events, run.end))


def test_recovery_is_the_first_event_that_was_stored_after_the_fault() -> None:
    """Event 1 was stored before the fault ended; what is heard of it then shows nothing."""
    run = _history(_fault("kill nats", "nats", 0.9, 1.2))
    assert [Recovery(kind="kill nats", count=1, median_seconds=4.3, longest_seconds=4.3)] == _found(run)


def test_recovery_is_looked_for_where_the_fault_was() -> None:
    """A replica's, in what it answered itself; the relay's, in the tasks' events."""
    replica = _found(_history(_fault("kill longpoll", "longpoll-2", 0.0, 0.5)))
    relay = _found(_history(_fault("kill relay", "relay", 0.0, 0.5)))
    assert [8.0] == [line.median_seconds for line in replica]
    assert [5.0] == [line.median_seconds for line in relay]


def test_recovery_has_no_time_when_two_faults_came_at_once() -> None:
    """The time of one would tell of the other; they are counted all the same."""
    run = _history(_fault("kill nats", "nats", 0.9, 1.2), _fault("freeze tasks", "tasks", 1.0, 3.0))
    assert [("freeze tasks", 1, None), ("kill nats", 1, None)] == [
        (line.kind, line.count, line.median_seconds) for line in _found(run)
    ]


def test_recovery_has_a_line_for_the_application_when_a_fault_kept_its_events_back() -> None:
    """A fault of the application's own process shows in its events alone."""
    faults = [
        _fault("kill postgres", "postgres", 0.0, 0.5),
        _fault("kill application-relay", "application-relay-2", 2.0, 2.5),
    ]
    answers = [poll((0, 1), (3, 1), *told(3, path="tasks"), *told(4, path="rooms/1"), at=4.5)]
    events = [event(3, "tasks"), event(4, "rooms/1")]
    run = history([client(answers)], events=events, faults=faults[:1], changes=[])
    assert ["kill postgres", "kill postgres: application"] == [line.kind for line in _found(run)]
    run = history([client(answers)], events=events, faults=faults[1:], changes=[])
    assert [("kill application-relay", 2.0)] == [(line.kind, line.median_seconds) for line in _found(run)]
