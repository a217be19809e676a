"""A Django project with an outbox: what is committed is published, in SQLite, MariaDB and PostgreSQL."""

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import Error, connections, transaction
from django.db.models.signals import post_save
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import wait_until

from cornelius import ConfigurationError, CorneliusError, dudley
from cornelius.django import Changes, publish_changes
from cornelius.django.relay.command import retry
from cornelius.django.relay.sink import RenderingSink
from cornelius.messages import RENDERINGS
from roots.contracts import events as events_of_roots
from roots_devstack.processes import ports
from roots_outbox.application.backend_api import BackEndApiSink

from .django_project import Chore, Described, Tag, Task, UrgentTask
from .relays import event_table, is_empty, received, refuse_large, refused, relaying, waiting
from .support import REVOKED, Log, ScriptedServer

ROWS, CHANGES = 4, 8


def with_tags(task: Task) -> dict[str, Any]:
    """Return what a page shows: the description, and the tags."""
    return {"description": task.description, "tags": sorted(tag.description for tag in task.tags.all())}


def watch(model: type[Any] = Task, **options: Any) -> Changes[Any]:
    """Publish the changes of `model`, with tags."""
    return publish_changes(model, **{"path": "tasks", "message": with_tags, **options})


def deliver(background: LoopThread, using: str) -> None:
    """Run a relay until nothing waits."""
    with background.entered(relaying(using)):
        wait_until(is_empty(using))


def test_state_of_the_commit_is_published_once_when_the_relay_begins_later(
    using: str, log: Log, background: LoopThread
) -> None:
    """I11: relations that follow the save are in it, and so is what sent no signal; the instance in memory is not."""
    watch()
    with transaction.atomic(using=using):
        task = Task.objects.using(using).create(description="1")
        task.description = "2"
        task.save()
        task.tags.set([Tag.objects.using(using).create(description="red")])
    Task.objects.using(using).filter(pk=task.pk).update(description="3")
    task.description = "never saved"
    assert [] == log.messages
    deliver(background, using)
    assert [{"description": "3", "tags": ["red"]}] == received(log)


def test_nothing_is_published_when_it_was_rolled_back(using: str, log: Log, background: LoopThread) -> None:
    """I11: nor what a savepoint has undone, while the rest of the transaction is kept."""
    watch()
    with transaction.atomic(using=using):
        Task.objects.using(using).create(description="gone")
        dudley.publish_later("tasks", '{"description": "gone"}', using=using)
        transaction.set_rollback(True, using=using)
    with transaction.atomic(using=using):
        kept = Task.objects.using(using).create(description="kept")
        with transaction.atomic(using=using):
            Task.objects.using(using).create(description="gone")
            kept.delete()
            transaction.set_rollback(True, using=using)
    deliver(background, using)
    assert [{"description": "kept", "tags": []}] == received(log)


def test_deletion_is_published_as_it_was_before_when_its_relations_go_with_it(
    using: str, log: Log, background: LoopThread
) -> None:
    """The message is made while the row and its tags are there; the states before it have no row any more."""
    watch()
    task = Task.objects.using(using).create(description="1")
    task.tags.add(Tag.objects.using(using).create(description="red"))
    task.description = "never saved"
    task.delete()
    Task.objects.using(using).create(description="unseen").delete()
    deliver(background, using)
    expected = [{"description": "1", "tags": ["red"]}, {"description": "unseen", "tags": []}]
    assert [{**item, "DELETE": True} for item in expected] == received(log)


@pytest.mark.parametrize("is_atomic", [True, False])
def test_save_is_undone_when_its_event_can_not_be_written(using: str, *, is_atomic: bool) -> None:
    """I11: the save and its event are one, also without a transaction of the caller's."""
    changes = watch()
    task = Task.objects.using(using).create(description="before")
    schema, _, table = event_table(using).rpartition(".")

    def rename(old: str, new: str) -> None:
        with connections[using].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {schema}{'.' if schema else ''}{old} RENAME TO {new}")

    def save() -> None:
        with transaction.atomic(using=using) if is_atomic else ExitStack():
            task.description = "after"
            task.save()

    def tag() -> None:
        task.tags.create(description="red")

    calls: list[Callable[[], object]] = [save, task.delete, tag, lambda: changes.saved(task)]
    rename(table, "away")
    try:
        for call in calls:
            with pytest.raises(Error):
                call()
    finally:
        rename("away", table)
    assert [("before", 0)] == [(kept.description, kept.tags.count()) for kept in Task.objects.using(using).all()]


def change_all(rows: list[int], using: str, *, is_kept: bool) -> None:
    """Count each row up in one transaction, which is kept or rolled back."""
    with transaction.atomic(using=using):
        for row in rows:
            task = Task.objects.using(using).select_for_update().get(pk=row)
            task.description = str(int(task.description) + 1)
            task.save()
        transaction.set_rollback(not is_kept, using=using)


def test_transaction_goes_on_when_a_receiver_of_the_save_raises(using: str, log: Log, background: LoopThread) -> None:
    """As without the outbox. A save outside of a transaction is undone with its event."""
    watch()

    def fail(**_signal: object) -> None:
        raise ZeroDivisionError

    post_save.connect(fail, sender=Task)
    with transaction.atomic(using=using):
        with pytest.raises(ZeroDivisionError):
            Task.objects.using(using).create(description="kept")
        Tag.objects.using(using).create(description="goes on")
    with pytest.raises(ZeroDivisionError):
        Task.objects.using(using).create(description="undone")
    deliver(background, using)
    assert [{"description": "kept", "tags": []}] == received(log)
    assert ["kept"] == [task.description for task in Task.objects.using(using).all()]


def test_event_is_committed_when_the_project_commits_by_itself(using: str, log: Log, background: LoopThread) -> None:
    """Without autocommit a save is in the transaction that the project ends."""
    watch()
    transaction.set_autocommit(False, using=using)
    try:
        Task.objects.using(using).create(description="undone")
        transaction.rollback(using=using)
        Task.objects.using(using).create(description="kept")
        transaction.commit(using=using)
    finally:
        transaction.set_autocommit(True, using=using)
    deliver(background, using)
    assert [{"description": "kept", "tags": []}] == received(log)


def test_changes_of_a_row_arrive_in_order_when_many_write_and_two_relays_run(
    using: str, background: LoopThread
) -> None:
    """I2, I11: each row's last message is its last state, and nothing comes after its deletion."""
    watch(message=lambda task: {"row": task.pk, "description": task.description})
    rows = [Task.objects.using(using).create(description="0").pk for _ in range(ROWS)]
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(1, CHANGES):
                change_all(rows, using, is_kept=number % 3 != 0)
        except Error as error:
            errors.append(error)
        finally:
            connections[using].close()

    log = Log()
    with ScriptedServer([log.publish] * 1000) as server:
        dudley.configure(url=server.url)
        with background.entered(relaying(using)), background.entered(relaying(using)):
            writers = [threading.Thread(target=write) for _ in range(2)]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
            assert [] == errors
            last = {task.pk: task.description for task in Task.objects.using(using).all()}
            Task.objects.using(using).first().delete()  # type: ignore[union-attr]
            wait_until(is_empty(using))
    by_row: dict[int, list[Any]] = {row: [] for row in rows}
    for item in received(log):
        by_row[item["row"]].append(item)
    for row, items in by_row.items():
        states = [int(item["description"]) for item in items]
        assert sorted(states) == states
        assert last[row] == items[-1]["description"]
        assert (row == rows[0]) == ("DELETE" in items[-1])


def test_others_are_published_when_some_are_refused(using: str, background: LoopThread) -> None:
    """A message that is too large, and one that can't be made, stop nothing; both can be sent again."""
    is_repaired = threading.Event()

    def message(task: Task) -> dict[str, Any]:
        if not is_repaired.is_set() and task.description == "raises":
            raise ZeroDivisionError
        large = "x" * 70_000 if not is_repaired.is_set() and task.description == "large" else ""
        return {"description": task.description, "large": large}

    failures: list[CorneliusError] = []
    watch(message=message, on_failure=failures.append)
    for description in ("raises", "large", "good"):
        Task.objects.using(using).create(description=description)
    Task.objects.using(using).get(description="raises").tags.create(description="red")
    log = Log()
    with ScriptedServer([refuse_large(log)] * 100) as server:
        dudley.configure(url=server.url)
        deliver(background, using)
        assert ["good"] == [item["description"] for item in received(log)]
        reasons = [reason for _, reason in refused(using)]
        assert ["too large" in reasons[0], "ZeroDivisionError" in reasons[1]] == [True, True]
        is_repaired.set()
        assert len(reasons) == retry(using)
        deliver(background, using)
    assert ["good", "large", "raises"] == [item["description"] for item in received(log)]
    assert [] == refused(using)
    assert [] == failures


def test_event_is_refused_when_a_query_of_its_message_fails(using: str, log: Log, background: LoopThread) -> None:
    """The database answers, so another try would fail as well."""

    def message(task: Task) -> dict[str, Any]:
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT * FROM nothing")
        return {"description": task.description}

    class Path:
        def __call__(self, task: Task) -> str:
            return task.description

    watch(message=message)
    watch(path=Path())
    Task.objects.using(using).create(description="others")
    deliver(background, using)
    ((_, reason),) = refused(using)
    assert "nothing" in reason
    assert ["others"] == [path for path, _ in log.stored.values()]


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
async def test_events_wait_when_the_objects_can_not_be_read(using: str) -> None:
    """I11: a database that is away for a while refuses nothing for good."""
    watch()
    away = {**connections.settings["default"], "ENGINE": "django.db.backends.mysql", "HOST": "127.0.0.1"}
    connections.settings["away"] = {**away, "NAME": "away", "PORT": ports.reserve()}
    marker = json.dumps({"changes": watch()._marked_as, "model": "todos.Task", "field": "pk", "value": "1"})
    events = [
        events_of_roots.Event(path=path, message=text.encode(), event_id="x", committed_ns=0)
        for path, text in [("tasks", "{}"), (RENDERINGS, marker)]
    ]
    sink = RenderingSink(BackEndApiSink(dudley), "away")
    running = asyncio.create_task(sink.run())
    for _ in range(2):
        results = await sink.publish(events)
        assert {events_of_roots.Outcome.UNAVAILABLE} == {result.outcome for result in results}
        assert "objects can't be read: OperationalError" in results[0].detail
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    del connections.settings["away"]


def test_deletion_goes_through_when_its_message_can_not_be_made(using: str, log: Log, background: LoopThread) -> None:
    """Nobody could make it later, so `on_failure` is called."""
    failures: list[CorneliusError] = []
    changes = watch(path=lambda _task: "::revoke", on_failure=failures.append)
    Task.objects.using(using).create(description="1").delete()
    assert ["no path of a message begins with ::" in str(error) for error in failures] == [True]
    changes.saved(Task())
    assert "no primary key" in str(failures[-1])
    deliver(background, using)
    assert [] == log.messages


def test_event_is_refused_when_the_relay_knows_no_such_publication(
    using: str, log: Log, background: LoopThread
) -> None:
    """A module that only the views import, say; the reason tells where to call it."""
    watch(path=lambda _task: "first")
    changes = watch(path=lambda _task: "second")
    task = Task.objects.using(using).create(description="1")
    changes._marked_as = "nothing"
    changes.saved(task)
    deliver(background, using)
    ((_, reason),) = refused(using)
    assert reason.startswith("this process knows no publish_changes for ")
    assert ["first", "second"] == sorted(path for path, _ in log.stored.values())


def test_messages_and_revocations_keep_their_order_when_they_are_published_later(
    using: str, background: LoopThread
) -> None:
    """I5: what was written before a revocation is published before it, and what comes after it afterwards."""
    log = Log()
    with ScriptedServer([log.publish, REVOKED, log.publish]) as server:
        dudley.configure(url=server.url)
        with transaction.atomic(using=using):
            event_id = dudley.publish_later("rooms/7", "1", using=using)
            dudley.revoke_later(subject="ann", path="rooms/7", using=using)
            dudley.publish_later("rooms/7", "2", ordering_key="seven", using=using)
        deliver(background, using)
    assert ["/v1/publish", "/v1/revoke", "/v1/publish"] == [request.path for request in server.requests]
    assert {"subject": "ann", "path": "rooms/7"} == server.requests[1].body
    assert ["1", "2"] == log.messages
    assert event_id in log.stored


def test_change_follows_the_revocation_when_one_transaction_has_both(using: str, background: LoopThread) -> None:
    """I5: who is revoked first receives nothing of what the transaction changes afterwards."""
    log = Log()
    watch()
    with ScriptedServer([log.publish, REVOKED, log.publish]) as server:
        dudley.configure(url=server.url)
        with transaction.atomic(using=using):
            Task.objects.using(using).create(description="before")
            dudley.revoke_later(subject="ann", path="tasks", using=using)
            Task.objects.using(using).create(description="after").delete()
        deliver(background, using)
    assert ["/v1/publish", "/v1/revoke", "/v1/publish"] == [request.path for request in server.requests]
    assert ["before", "after"] == [item["description"] for item in received(log)]


@pytest.mark.parametrize("arguments", [("::revoke", "{}"), ("::render", "{}"), ("tasks", 7), ("tasks", "\ud800")])
def test_message_is_refused_at_once_when_it_is_none(using: str, arguments: tuple[Any, Any]) -> None:
    """I5: what is a path to nobody must be no order to the relay either."""
    with pytest.raises((TypeError, ValueError)):
        dudley.publish_later(*arguments, using=using)
    with pytest.raises(TypeError):
        dudley.revoke_later(using=using)
    assert 0 == waiting(using)


def test_call_says_what_to_set_when_there_is_no_outbox() -> None:
    """Outside of Django, or without the setting."""
    with pytest.raises(ConfigurationError, match=r'CORNELIUS = {"outbox": True}'):
        dudley.publish_later("tasks", "{}")
    with pytest.raises(ConfigurationError, match=r"there is no outbox"):
        dudley.revoke_later(subject="ann")


def test_every_model_of_a_row_counts_when_it_is_saved(using: str, log: Log, background: LoopThread) -> None:
    """Proxies, children, parents and heirs of an abstract model; each save is one transaction with its events."""
    watch(path="tasks", message=lambda task: {"description": task.description})
    watch(UrgentTask, path="urgent", message=lambda task: {"text": task.shout()})
    watch(Chore, path="chores", message=lambda chore: {"description": chore.description, "room": chore.room})
    watch(Described, path="all", message=lambda item: {"description": item.description})
    chore = Chore.objects.using(using).create(description="a", room="kitchen")
    deliver(background, using)
    expected: dict[str, Any] = {
        "tasks": {"description": "a"},
        "urgent": {"text": "A"},
        "chores": {"description": "a", "room": "kitchen"},
        "all": {"description": "a"},
    }
    assert expected == {path: json.loads(message) for path, message in log.stored.values()}
    log.stored.clear()
    UrgentTask(pk=chore.pk, description="b").save(using=using)
    Task.objects.using(using).get(pk=chore.pk).delete()
    deliver(background, using)
    assert {"tasks", "urgent", "chores", "all"} == {path for path, _ in log.stored.values()}
    assert {True} == {json.loads(message)["DELETE"] for _, message in log.stored.values()}
