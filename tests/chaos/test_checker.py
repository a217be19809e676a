"""The checker finds each kind of breach in a hand-made history, and nothing in one that keeps the protocol."""

import dataclasses

import pytest

from .check import judge
from .hand import (
    change,
    client,
    confirmed,
    event,
    history,
    poll,
    record,
    row_event,
    task,
    task_event,
    told,
    withdrawn,
)
from .history import ClientHistory, Event, Fault, Published, Stall, TaskRow, TaskWrite, Withdrawal
from .log import Log

BEGUN = poll(None, (0, 0), at=0.0)
CONNECTED = poll((0, 0), (0, 1), confirmed("a"), at=1.0)
ROW = TaskRow(guid="/task/1", description="milk", is_done=False, version=1)


def _kinds(one: ClientHistory, events: list[Event], faults: list[Fault] | None = None) -> list[str]:
    run = history([one], events=events, faults=faults)
    return [violation.kind for violation in judge(run, Log(run.events, run.end)).violations]


def test_checker_finds_nothing_when_every_event_came_once_in_order() -> None:
    """Also across paths that the client does not hear, and an answer that was asked for twice."""
    events = [event(1), event(2, "b"), event(3), event(4)]
    heard = poll((0, 1), (3, 1), *told(1, 3), at=2.0)
    again = poll((0, 1), (3, 1), *told(1, 3), at=2.5)
    assert [] == _kinds(client([BEGUN, CONNECTED, heard, again, poll((3, 1), (4, 1), *told(4), at=3.0)]), events)


def test_checker_finds_nothing_when_new_grant_is_read_from_its_start() -> None:
    """ADR 0005: a client whose position is past the grant hears the path from the grant on; its cursor may go back."""
    records = [record(1, {"a": (0, 1)}), record(2, {"a": (0, 1), "b": (1, 2)})]
    events = [event(1), event(2, "b"), event(3)]
    answers = [
        BEGUN,
        CONNECTED,
        poll((0, 1), (3, 1), *told(1, 3)),
        poll((3, 1), (2, 2), confirmed("b"), *told(2, path="b")),
        poll((2, 2), (3, 2), *told(3)),
    ]
    assert [] == _kinds(client(answers, records), events)


def test_checker_finds_loss_when_answer_passes_over_event() -> None:
    """I1: the cursor moved past an event that no answer told; the client's whole history shows it too."""
    assert ["lost", "lost"] == _kinds(client([BEGUN, CONNECTED, poll((0, 1), (2, 1), *told(2))]), [event(1), event(2)])


def test_checker_finds_loss_when_only_another_uid_heard_event() -> None:
    """I1: what one uid heard does not count for another."""
    other = poll((0, 1), (1, 1), *told(1), uid="other", new_uid="other")
    assert "lost" in _kinds(client([BEGUN, CONNECTED, other, poll((0, 1), (1, 1))]), [event(1)])


def test_checker_finds_loss_when_grant_was_not_confirmed() -> None:
    """A grant is confirmed by an update without a message, until a poll acknowledges it."""
    assert ["lost"] == _kinds(client([BEGUN, poll((0, 0), (0, 1))]), [])


def test_checker_finds_loss_when_withdrawal_was_not_told() -> None:
    """A withdrawal is told by an update on the reserved path, until a poll acknowledges it."""
    records = [record(1, {"a": (0, 1)}), record(2, {}, {"a": 2})]
    assert ["lost"] == _kinds(client([BEGUN, CONNECTED, poll((0, 1), (0, 2))], records), [])
    assert [] == _kinds(client([BEGUN, CONNECTED, poll((0, 1), (0, 2), withdrawn("a"))], records), [])


def test_checker_finds_disorder_when_answer_does_not_ascend() -> None:
    """I2: sequences ascend within an answer."""
    answers = [BEGUN, CONNECTED, poll((0, 1), (2, 1), *told(2, 1))]
    assert ["out of order"] == _kinds(client(answers), [event(1), event(2)])


def test_checker_finds_disorder_when_event_is_told_twice_in_one_answer() -> None:
    """I2: the same sequence does not ascend either."""
    assert ["out of order"] == _kinds(client([BEGUN, CONNECTED, poll((0, 1), (1, 1), *told(1, 1))]), [event(1)])


def test_checker_finds_disorder_when_event_is_past_the_answers_cursor() -> None:
    """Such an event would be told again by the next answer."""
    answers = [BEGUN, CONNECTED, poll((0, 1), (1, 1), *told(1, 2)), poll((1, 1), (2, 1), *told(2))]
    assert ["out of order"] == _kinds(client(answers), [event(1), event(2)])


def test_checker_finds_disorder_when_told_grants_go_back() -> None:
    """A replica that knows less than the client must ask before it answers (I6)."""
    records = [record(1, {"a": (0, 1)}), record(2, {"a": (0, 1), "b": (0, 2)})]
    answers = [BEGUN, poll((0, 0), (0, 2), confirmed("a"), confirmed("b")), poll((0, 2), (0, 1))]
    assert ["out of order"] == _kinds(client(answers, records), [])


def test_checker_finds_repeat_when_event_was_acknowledged() -> None:
    """I3: what the cursor acknowledges is not told again."""
    answers = [BEGUN, CONNECTED, poll((0, 1), (1, 1), *told(1)), poll((1, 1), (2, 1), *told(1, 2))]
    assert ["repeated"] == _kinds(client(answers), [event(1), event(2)])


def test_checker_finds_breach_when_path_was_never_granted() -> None:
    """I5: no event leaves on a path without a grant."""
    answers = [BEGUN, CONNECTED, poll((0, 1), (1, 1), *told(1, path="b"))]
    assert ["unauthorised"] == _kinds(client(answers), [event(1, "b")])


def test_checker_finds_breach_when_event_is_older_than_grant() -> None:
    """I5: a path is heard from its grant on."""
    answers = [BEGUN, poll((0, 0), (2, 1), confirmed("a"), *told(1, 2))]
    assert ["unauthorised"] == _kinds(client(answers, [record(1, {"a": (1, 1)})]), [event(1), event(2)])


def test_checker_finds_breach_when_event_comes_after_notice_of_withdrawal() -> None:
    """I5: once the withdrawal was told, nothing more comes."""
    records = [record(1, {"a": (0, 1)}), record(2, {}, {"a": 2})]
    answers = [BEGUN, CONNECTED, poll((0, 1), (0, 2), withdrawn("a")), poll((0, 2), (1, 2), *told(1))]
    assert ["unauthorised"] == _kinds(client(answers, records), [event(1)])


@pytest.mark.parametrize(("at", "expected"), [(10.9, []), (11.1, ["unauthorised"])])
def test_checker_finds_breach_when_withdrawal_is_late(at: float, expected: list[str]) -> None:
    """I5: a replica that does not know of a withdrawal after a second has failed."""
    assert expected == _kinds(_late_client(at), [event(1)])


def test_checker_excuses_late_withdrawal_when_broker_was_frozen() -> None:
    """A replica that NATS could not tell of the withdrawal catches up when it can."""
    frozen = Fault(kind="freeze nats", target="nats", began_at=9.0, over_at=14.0, ready_at=14.0)
    assert [] == _kinds(_late_client(15.0), [event(1)], [frozen])
    assert ["unauthorised"] == _kinds(_late_client(30.0), [event(1)], [frozen])


def test_checker_finds_breach_when_client_hears_what_was_written_after_its_kick() -> None:
    """I5: the application wrote that after it had taken the path away; how soon the client heard it changes nothing."""
    withdrawal = Withdrawal(uid="one", path="a", n=2, asked_at=9.0, answered_at=10.0, then="m1")
    assert ["unauthorised"] == _kinds(_late_client(9.5, withdrawal), [event(1)])
    assert [] == _kinds(_late_client(9.5, dataclasses.replace(withdrawal, then="m2")), [event(1)])


def test_checker_allows_for_the_time_in_which_it_was_stalled_itself() -> None:
    """What came while this process did nothing was seen only afterwards; a stall at another time excuses nothing."""
    events = [event(1)]
    for stall, expected in ((Stall(10.2, 11.4), []), (Stall(20.0, 30.0), ["unauthorised"])):
        run = history([_late_client(11.5)], events=events, stalls=[stall])
        assert expected == [violation.kind for violation in judge(run, Log(events, 1)).violations]


WITHDRAWAL = Withdrawal(uid="one", path="a", n=2, asked_at=9.9, answered_at=10.0)


def _late_client(at: float, withdrawal: Withdrawal = WITHDRAWAL) -> ClientHistory:
    records = [record(1, {"a": (0, 1)}), record(2, {}, {"a": 2})]
    late = poll((0, 1), (1, 1), *told(1), at=at)
    return client([BEGUN, CONNECTED, late, poll((1, 1), (1, 2), withdrawn("a"), at=at)], records, [withdrawal])


def test_checker_finds_gap_when_nothing_left_the_log() -> None:
    """A gap is a loss that is admitted; there is no reason for one while the log is whole."""
    answers = [BEGUN, CONNECTED, poll((0, 1), (1, 1), gaps=(("a", "expired"),))]
    assert ["gap"] == _kinds(client(answers), [event(1)])


def test_checker_finds_gap_when_epoch_changes_in_silence() -> None:
    """I9: a log that was created anew is reported."""
    assert ["gap"] == _kinds(client([BEGUN, CONNECTED, poll((0, 1), (0, 1), epoch=8)]), [])


def test_checker_finds_renewal_when_uid_is_replaced() -> None:
    """A uid whose grants hold is not replaced: its client would miss what came before it has connected again."""
    answers = [BEGUN, CONNECTED, poll((0, 1), (0, 0), new_uid="two")]
    assert ["renewed"] == _kinds(client(answers), [])


def test_checker_finds_client_unfinished_when_it_never_reached_the_end() -> None:
    """At the end of a run every client has caught up."""
    assert ["unfinished"] == _kinds(client([BEGUN, CONNECTED]), [event(1, "b")])
    assert ["unfinished"] == _kinds(client([]), [])


def test_checker_finds_invention_when_event_is_not_in_the_log() -> None:
    """What was delivered and is not stored was never to be delivered."""
    answers = [BEGUN, CONNECTED, poll((0, 1), (1, 1), *told(1, 9))]
    assert ["write invented"] == _kinds(client(answers), [event(1)])


def _write_kinds(
    events: list[Event],
    *,
    rows: list[TaskRow] | None = None,
    published: list[Published] | None = None,
    task_writes: list[TaskWrite] | None = None,
) -> list[str]:
    run = history(events=events, rows=rows, published=published, task_writes=task_writes)
    return [violation.kind for violation in judge(run, Log(run.events, run.end)).violations]


def test_checker_finds_nothing_when_log_and_database_agree() -> None:
    """A task that lives, one that was deleted, and an acknowledged write of each kind."""
    events = [
        task_event(1, "/task/1", 1),
        task_event(2, "/task/2", 1),
        task_event(3, "/task/2", 2, is_delete=True),
        event(4),
    ]
    writes = [
        TaskWrite(method="POST", guid="/task/1", mark="milk", outcome="acknowledged", content=task("/task/1", 1)),
        TaskWrite(method="DELETE", guid="/task/2", mark="", outcome="acknowledged"),
        TaskWrite(method="PUT", guid="/task/1", mark="never", outcome="refused"),
    ]
    published = [Published(path="a", message="m4", event_id="id4", seq=4)]
    assert [] == _write_kinds(events, rows=[ROW], published=published, task_writes=writes)


@pytest.mark.parametrize(
    "write",
    [
        TaskWrite(method="PUT", guid="/task/1", mark="x", outcome="acknowledged", content=task("/task/1", 2, "x")),
        TaskWrite(method="DELETE", guid="/task/1", mark="", outcome="acknowledged"),
    ],
)
def test_checker_finds_loss_when_acknowledged_write_has_no_event(write: TaskWrite) -> None:
    """I11: a committed change yields its event."""
    assert ["write lost"] == _write_kinds([task_event(1, "/task/1", 1)], rows=[ROW], task_writes=[write])


def test_checker_finds_loss_when_acknowledged_publish_is_not_stored() -> None:
    """What JetStream acknowledged stays, and where it said."""
    missing = Published(path="a", message="m2", event_id="id2", seq=2)
    elsewhere = Published(path="a", message="m1", event_id="id1", seq=2)
    assert ["write lost"] == _write_kinds([event(1)], published=[missing])
    assert ["write lost"] == _write_kinds([event(1), event(2)], published=[elsewhere])


def test_checker_finds_loss_when_row_has_no_event_or_an_older_one() -> None:
    """I11: the last event of each task is what Postgres holds."""
    newer = TaskRow(guid="/task/1", description="milk", is_done=False, version=2)
    assert ["write lost"] == _write_kinds([], rows=[ROW])
    assert ["write lost"] == _write_kinds([task_event(1, "/task/1", 1)], rows=[newer])


def test_checker_finds_loss_when_version_is_missing_in_the_log() -> None:
    """I11: each version of a task has its event."""
    row = TaskRow(guid="/task/1", description="milk", is_done=False, version=3)
    assert ["write lost"] == _write_kinds([task_event(1, "/task/1", 1), task_event(2, "/task/1", 3)], rows=[row])


def test_checker_finds_disorder_when_versions_do_not_ascend() -> None:
    """I2: the events of a task are in the order of their commits."""
    events = [task_event(1, "/task/1", 2), task_event(2, "/task/1", 1)]
    assert ["out of order"] == _write_kinds(events, rows=[ROW])


def test_checker_finds_invention_when_refused_write_has_event() -> None:
    """I11: a change that was not committed yields no event."""
    refused = TaskWrite(method="PUT", guid="/task/1", mark="milk", outcome="refused")
    assert ["write invented"] == _write_kinds([task_event(1, "/task/1", 1)], rows=[ROW], task_writes=[refused])


def test_checker_finds_invention_when_task_is_not_in_database() -> None:
    """I11: an event of a task that is not there, and was not deleted, tells of nothing."""
    assert ["write invented"] == _write_kinds([task_event(1, "/task/1", 1)])


def test_checker_finds_invention_when_one_version_has_two_contents() -> None:
    """I2: a version is one content."""
    events = [task_event(1, "/task/1", 1, "bread"), task_event(2, "/task/1", 1, "milk")]
    assert ["write invented"] == _write_kinds(events, rows=[ROW])


def test_checker_finds_copy_when_event_is_stored_twice() -> None:
    """A repeated publish within the dedup window is dropped."""
    assert ["stored twice"] == _write_kinds([event(1, message="same"), event(2, message="same")])


ROW_CHANGES = [change(1, 1), change(1, 2), change(1, 3, is_deletion=True), change(2, 1)]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        # Rows have no order among each other.
        ([(2, 1), (1, 1), (1, 2), (1, 3)], []),
        ([(1, 1), (1, 2), (2, 1)], ["write lost"]),
        ([(1, 1), (1, 2), (1, 3)], ["write lost"]),
        ([(1, 2), (1, 1), (1, 3), (2, 1)], ["out of order"]),
        ([(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)], ["write invented"]),
        ([(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)], ["write invented"]),
        ([(1, 1), (1, 2), (1, 3), (2, 1), (2, 1)], ["stored twice"]),
    ],
)
def test_checker_compares_log_with_what_the_application_committed(
    stored: list[tuple[int, int]], expected: list[str]
) -> None:
    """I2, I11: each change of a row once, in the order of its commits, and none that was rolled back."""
    events = [
        row_event(seq, row, version, is_deletion=(row, version) == (1, 3))
        for seq, (row, version) in enumerate(stored, start=1)
    ]
    run = history(events=events, changes=ROW_CHANGES)
    assert expected == [violation.kind for violation in judge(run, Log(run.events, run.end)).violations]
