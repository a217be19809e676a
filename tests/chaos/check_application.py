"""Checks the log against what the application of one's own has committed (I11, and I2 for each row).

Its journal is written in the transactions of the changes, and Roots knows nothing of it. Every change has another
message: marks never come twice, and a row is deleted once.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from .history import Change, Event
from .settings import ROOM_PATHS
from .violations import Violation

Message = tuple[str, dict[str, Any]]
"""A path, and the JSON on it."""


def check_application(events: Iterable[Event], changes: Iterable[Change]) -> Iterator[Violation]:
    """Yield what is wrong with the events of the application; `changes` are in the order of each row's versions."""
    committed: dict[int, list[Message]] = defaultdict(list)
    for change in changes:
        committed[change.row].append(_message_of(change))
    stored: dict[int, list[Message]] = defaultdict(list)
    for event in events:
        if event.path in ROOM_PATHS:
            content = json.loads(event.message)
            stored[content["id"]].append((event.path, content))
    for row in sorted(committed.keys() | stored.keys()):
        yield from _check_row(row, committed[row], stored[row])


def _check_row(row: int, committed: list[Message], stored: list[Message]) -> Iterator[Violation]:
    lost = [message for message in committed if message not in stored]
    invented = [message for message in stored if message not in committed]
    if lost:
        yield Violation(kind="write lost", sentence=f"row {row}: {lost} was committed and is not in the log")
    if invented:
        yield Violation(kind="write invented", sentence=f"row {row}: {invented} is in the log and was not committed")
    distinct = [message for place, message in enumerate(stored) if message not in stored[:place]]
    if not lost and not invented and distinct != committed:
        yield Violation(kind="out of order", sentence=f"row {row}: committed as {committed}, stored as {stored}")


def _message_of(change: Change) -> Message:
    """Return what `roots.watch` makes of a change."""
    if change.is_deletion:
        return change.path, {"id": change.row, "DELETE": True}
    room = int(change.path.rpartition("/")[2])
    return change.path, {"id": change.row, "room": room, "version": change.version, "mark": change.mark}
