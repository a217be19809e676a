"""Hand-made pieces of a history, for the tests of the checker."""

import json

from .history import (
    Answer,
    Change,
    ClientHistory,
    Event,
    Fault,
    History,
    PathGrant,
    Position,
    Published,
    Record,
    Stall,
    TaskRow,
    TaskWrite,
    Update,
    Withdrawal,
)
from .protocol import DISCONNECT_PATH

EPOCH = 7
UID = "one"


def event(seq: int, path: str = "a", message: str = "") -> Event:
    """Return an event whose message tells its sequence, unless another is given."""
    return Event(seq=seq, path=path, message=message or f"m{seq}", event_id=f"id{seq}", stored_at=float(seq))


def told(*seqs: int, path: str = "a") -> tuple[Update, ...]:
    """Return the updates of the events `seqs` on `path`."""
    return tuple(Update(path, f"m{seq}") for seq in seqs)


def confirmed(path: str) -> Update:
    """Return the update that confirms a grant."""
    return Update(path, "")


def withdrawn(path: str) -> Update:
    """Return the update that tells of a withdrawal."""
    return Update(DISCONNECT_PATH, path)


def poll(
    sent: tuple[int, int] | None,
    given: tuple[int, int],
    *updates: Update,
    at: float = 0.0,
    gaps: tuple[tuple[str, str], ...] = (),
    uid: str = UID,
    new_uid: str = UID,
    via: str = "longpoll-1",
    epoch: int = EPOCH,
) -> Answer:
    """Return a poll that sent and was given the position and grant number of each pair."""
    return Answer(
        client=0,
        via=via,
        uid="" if sent is None else uid,
        sent=None if sent is None else Position(EPOCH, *sent),
        sent_at=at - 0.1,
        got_at=at,
        new_uid=new_uid,
        position=Position(epoch, *given),
        updates=updates,
        gaps=gaps,
    )


def record(n: int, paths: dict[str, tuple[int, int]], gone: dict[str, int] | None = None) -> Record:
    """Return a record whose paths have (start, since)."""
    return Record(
        uid=UID,
        n=n,
        paths={path: PathGrant(start=start, since=since, n=since) for path, (start, since) in paths.items()},
        gone=gone or {},
    )


def client(
    answers: list[Answer], records: list[Record] | None = None, withdrawals: list[Withdrawal] | None = None
) -> ClientHistory:
    """Return one client's history; by default `a` is granted from 0 on by change 1."""
    return ClientHistory(
        number=0,
        answers=answers,
        records=[record(1, {"a": (0, 1)})] if records is None else records,
        withdrawals=withdrawals or [],
    )


def history(
    clients: list[ClientHistory] | None = None,
    *,
    events: list[Event] | None = None,
    end: int = 0,
    published: list[Published] | None = None,
    task_writes: list[TaskWrite] | None = None,
    rows: list[TaskRow] | None = None,
    faults: list[Fault] | None = None,
    stalls: list[Stall] | None = None,
    changes: list[Change] | None = None,
) -> History:
    """Return a run."""
    events = events or []
    return History(
        clients=clients or [],
        published=published or [],
        task_writes=task_writes or [],
        events=events,
        end=max([end, *(one.seq for one in events)]),
        rows=rows or [],
        faults=faults or [],
        stalls=stalls or [],
        changes=changes,
    )


def change(row: int, version: int, *, is_deletion: bool = False) -> Change:
    """Return a change that the application has committed in the first room."""
    return Change(row=row, path="rooms/0", version=version, mark=f"{row}-{version}", is_deletion=is_deletion)


def row_event(seq: int, row: int, version: int, *, is_deletion: bool = False) -> Event:
    """Return the event of such a change."""
    content = {"id": row, "room": 0, "version": version, "mark": f"{row}-{version}"}
    return event(seq, "rooms/0", json.dumps({"id": row, "DELETE": True} if is_deletion else content))


def task_event(seq: int, guid: str, version: int, description: str = "milk", *, is_delete: bool = False) -> Event:
    """Return the event of one change of a task."""
    content = task(guid, version, description) | ({"DELETE": True} if is_delete else {})
    return event(seq, "tasks", json.dumps(content))


def task(guid: str, version: int, description: str = "milk") -> dict[str, object]:
    """Return a task as its events have it."""
    return {"guid": guid, "version": version, "description": description, "isDone": False}
