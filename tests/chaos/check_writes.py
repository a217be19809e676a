"""Checks the log against what writers were told and what Postgres holds (I11, and I2 for each task)."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from .history import Event, History, Published, TaskRow, TaskWrite
from .log import Log
from .violations import Violation

TASKS_PATH = "tasks"


def check_writes(history: History, log: Log) -> Iterator[Violation]:
    """Yield what is wrong with the log."""
    for update, seqs in log.copies():
        yield Violation(kind="stored twice", sentence=f"{update.path} has one event at {seqs}: {update.message[:80]}")
    yield from _check_published(history.published, log)
    tasks: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in history.events:
        if event.path == TASKS_PATH:
            task = _task_of(event)
            tasks[task["guid"]].append(task)
    yield from _check_versions(tasks)
    yield from _check_rows(tasks, history.rows)
    yield from _check_task_writes(tasks, history.task_writes)


def _task_of(event: Event) -> dict[str, Any]:
    task: dict[str, Any] = json.loads(event.message)
    return task


def _check_published(published: list[Published], log: Log) -> Iterator[Violation]:
    ids = {event.event_id for event in log.events.values()}
    for publish in published:
        if publish.seq is None:
            continue
        stored = log.events.get(publish.seq)
        if publish.event_id not in ids:
            yield Violation(kind="write lost", sentence=f"{publish} was acknowledged and is not in the log")
        elif stored is None or stored.event_id != publish.event_id:
            yield Violation(kind="write lost", sentence=f"{publish} is not where it was acknowledged; {stored} is")


def _check_versions(tasks: dict[str, list[dict[str, Any]]]) -> Iterator[Violation]:
    """Check that each task's events have the versions 1, 2, 3, ... in the order of the log."""
    for guid, events in tasks.items():
        versions = [event["version"] for event in events]
        distinct = list(dict.fromkeys(versions))
        if distinct != sorted(distinct):
            yield Violation(kind="out of order", sentence=f"{guid} has events of the versions {versions}")
        elif distinct != list(range(1, len(distinct) + 1)):
            yield Violation(kind="write lost", sentence=f"{guid} has events of the versions {versions} only")
        for version in distinct:
            contents = [event for event in events if event["version"] == version]
            if any(content != contents[0] for content in contents):
                yield Violation(kind="write invented", sentence=f"{guid} has two events of version {version}")


def _check_rows(tasks: dict[str, list[dict[str, Any]]], rows: list[TaskRow]) -> Iterator[Violation]:
    """Check that each task's last event is what Postgres holds."""
    remaining = dict(tasks)
    for row in rows:
        events = remaining.pop(row.guid, None)
        if events is None:
            yield Violation(kind="write lost", sentence=f"{row} has no event")
            continue
        last = events[-1]
        seen = TaskRow(
            guid=last["guid"], description=last["description"], is_done=last["isDone"], version=last["version"]
        )
        if seen != row or "DELETE" in last:
            yield Violation(kind="write lost", sentence=f"the last event of a task is {last}, its row is {row}")
    for guid, events in remaining.items():
        if "DELETE" not in events[-1]:
            yield Violation(
                kind="write invented", sentence=f"{guid} is not in Postgres; its last event is {events[-1]}"
            )


def _check_task_writes(tasks: dict[str, list[dict[str, Any]]], writes: list[TaskWrite]) -> Iterator[Violation]:
    descriptions = {event["description"] for events in tasks.values() for event in events}
    for write in writes:
        events = tasks.get(write.guid, [])
        if write.outcome == "refused":
            if write.mark and write.mark in descriptions:
                yield Violation(kind="write invented", sentence=f"{write} was refused and has an event")
        elif write.outcome == "acknowledged":
            is_there = any("DELETE" in event for event in events) if write.content is None else write.content in events
            if not is_there:
                yield Violation(kind="write lost", sentence=f"{write} was acknowledged and has no event")
