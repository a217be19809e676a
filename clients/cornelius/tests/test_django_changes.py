"""What `publish_changes` publishes: the committed state of every kind of model, and nothing that breaks a save."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Concat
from django.test import TestCase
from tests.testkit.deadlines import clock

from cornelius import ChangeError, CorneliusError, PublishError, dudley
from cornelius.django import Changes, publish_changes

from .django_project import Chore, Described, Tag, Task, UrgentTask
from .django_support import fresh_project, published, publishing, rolled_back
from .support import CUT, Log, ScriptedServer, problem


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    """Give each test a project of its own."""
    with fresh_project():
        yield


@pytest.fixture
def log() -> Iterator[Log]:
    """Yield what `dudley` publishes."""
    with publishing() as stored:
        yield stored


def with_tags(task: Task) -> dict[str, Any]:
    """Return what a page shows: the description, and the tags."""
    return {"description": task.description, "tags": sorted(tag.description for tag in task.tags.all())}


def watch(model: type[Any] = Task, **options: Any) -> Changes[Any]:
    """Publish the changes of `model`, with tags."""
    return publish_changes(model, **{"path": "tasks", "message": with_tags, **options})


def test_state_of_the_commit_is_published_when_relations_follow_the_save(log: Log) -> None:
    """I11: a form saves the object first and its tags afterwards; the page gets both, once."""
    watch()
    red = Tag.objects.create(description="red")
    with transaction.atomic():
        task = Task.objects.create(description="1")
        task.tags.set([red])
    assert [{"description": "1", "tags": ["red"]}] == published(log)


def test_last_state_is_published_once_when_an_object_is_saved_several_times(log: Log) -> None:
    """I11: also under savepoints that are kept, and whatever the instance in memory says."""
    watch()
    with transaction.atomic():
        task = Task.objects.create(description="1")
        with transaction.atomic():
            task.description = "2"
            task.save()
        Task.objects.filter(pk=task.pk).update(description="3")
        task.description = "never saved"
    assert [{"description": "3", "tags": []}] == published(log)


def test_expression_is_published_as_its_value_when_it_is_saved(log: Log) -> None:
    """The instance has an expression; the row has what came out."""
    watch()
    task = Task.objects.create(description="a")
    task.description = Concat("description", Value("b"))
    task.save()
    assert "ab" == published(log)[-1]["description"]


@pytest.mark.parametrize("is_atomic", [True, False])
def test_relation_is_a_change_when_it_is_changed_from_either_side(log: Log, *, is_atomic: bool) -> None:
    """Each way that Django has: add, remove, set, clear; from the task and from the tag."""
    red: Any = Tag.objects.create(description="red")
    blue: Any = Tag.objects.create(description="blue")
    task: Any = Task.objects.create(description="1")
    watch()
    steps: list[tuple[Callable[[], object], list[str]]] = [
        (lambda: task.tags.add(red), ["red"]),
        (lambda: blue.task_set.add(task), ["blue", "red"]),
        (lambda: task.tags.remove(red), ["blue"]),
        (lambda: blue.task_set.remove(task), []),
        (lambda: task.tags.set([red, blue]), ["blue", "red"]),
        (red.task_set.clear, ["blue"]),
        (task.tags.clear, []),
        (lambda: red.task_set.set([task]), ["red"]),
        (lambda: task.tags.create(description="new"), ["new", "red"]),
        (lambda: task.tags.add(blue.pk), ["blue", "new", "red"]),
        (lambda: task.tags.remove(str(blue.pk)), ["new", "red"]),
    ]
    for change, tags in steps:
        if is_atomic:
            with transaction.atomic():
                change()
        else:
            change()
        assert tags == published(log)[-1]["tags"]
    assert len(log.messages) >= len(steps)


def test_nothing_is_published_when_a_relation_stays_as_it_was(log: Log) -> None:
    """Adding what is there is no change."""
    red, task = Tag.objects.create(description="red"), Task.objects.create(description="1")
    task.tags.add(red)
    watch()
    task.tags.add(red)
    task.tags.set([red])
    assert [] == log.messages


def test_relation_to_the_same_model_changes_both_ends_when_it_is_set(log: Log) -> None:
    """Either may show it."""
    watch(message=lambda task: {"needs": task.needs.count(), "of": task.description})
    first, second = (Task.objects.create(description=name) for name in ("1", "2"))
    del log.stored[next(iter(log.stored))], log.stored[next(iter(log.stored))]
    first.needs.add(second)
    assert [{"needs": 0, "of": "2"}, {"needs": 1, "of": "1"}] == sorted(published(log), key=str)


def test_deletion_is_published_as_it_was_before_when_its_relations_go_with_it(log: Log) -> None:
    """The message is made while the row and its tags are there; the save before it is not published."""
    watch()
    red = Tag.objects.create(description="red")
    with transaction.atomic():
        task = Task.objects.create(description="1")
        task.tags.add(red)
        task.description = "2"
        task.save()
        task.description = "never saved"
        task.delete()
    assert [{"description": "2", "tags": ["red"], "DELETE": True}] == published(log)


def test_object_is_published_when_its_deletion_is_rolled_back_to_a_savepoint(log: Log) -> None:
    """I11: what a savepoint undoes is not published, and hides nothing."""
    watch()
    with transaction.atomic():
        task = Task.objects.create(description="1")
        with rolled_back():
            Task.objects.get(pk=task.pk).delete()
    assert [{"description": "1", "tags": []}] == published(log)


def test_last_message_is_the_last_change_when_a_key_is_used_again(log: Log) -> None:
    """I2: a row that is deleted and made again is there."""
    watch()
    with transaction.atomic():
        task = Task.objects.create(description="1")
        task.delete()
        Task.objects.create(pk=1, description="2")
    assert {"description": "2", "tags": []} == published(log)[-1]


def test_nothing_is_published_when_the_row_is_gone_without_a_signal(log: Log) -> None:
    """Nobody could say what it was."""
    watch()
    with transaction.atomic():
        task = Task.objects.create(description="1")
        Task.objects.filter(pk=task.pk)._raw_delete("default")
    assert [] == log.messages


def test_state_of_its_database_is_published_when_there_are_several(log: Log) -> None:
    """I11: the same key may be another row there, and each database has its own transactions."""
    watch()
    Task.objects.create(description="default")
    with rolled_back():
        task = Task.objects.using("other").create(description="other")
        assert {"description": "other", "tags": []} == published(log)[-1]
    with transaction.atomic(using="other"):
        task.tags.add(Tag.objects.using("other").create(description="red"))
        assert 2 == len(log.messages)
    assert {"description": "other", "tags": ["red"]} == published(log)[-1]
    watch(path="more").saved(task)
    assert {"description": "other", "tags": ["red"]} == published(log)[-1]
    task.delete()
    assert {"description": "other", "tags": ["red"], "DELETE": True} == published(log)[-1]


@pytest.mark.parametrize("watched", [Task, UrgentTask])
def test_proxy_is_a_change_of_its_table_when_it_is_saved_or_deleted(log: Log, watched: type[Task]) -> None:
    """Whichever of the two is watched, and whichever is used."""
    watch(watched)
    for model in (Task, UrgentTask):
        task = model._default_manager.create(description=model.__name__)
        model._default_manager.only("pk").get(pk=task.pk).save(update_fields=["description"])
        model._default_manager.filter(pk=task.pk).delete()
        states = [(item["description"], item.get("DELETE", False)) for item in published(log)]
        assert [(model.__name__, False), (model.__name__, True)] == [states[-2], states[-1]]


def test_message_gets_the_watched_class_when_a_proxy_is_watched(log: Log) -> None:
    """Also when the row is saved and deleted as what it is a proxy of."""
    watch(UrgentTask, message=lambda task: {"text": task.shout()})
    Task.objects.create(description="a").delete()
    assert [{"text": "A"}, {"text": "A", "DELETE": True}] == published(log)


def test_proxy_that_is_defined_later_counts_when_it_is_saved(log: Log) -> None:
    """`publish_changes` stands below its model, before what other modules derive from that."""
    watch()

    class LateTask(Task):
        class Meta:
            app_label = "late"
            proxy = True

    LateTask.objects.create(description="1")
    assert ["1"] == [item["description"] for item in published(log)]


def test_child_and_parent_count_for_each_other_when_tables_are_inherited(log: Log) -> None:
    """Saving one of them changes the row of the other."""
    watch(path="tasks")
    watch(Chore, path="chores", message=lambda chore: {"description": chore.description, "room": chore.room})
    chore = Chore.objects.create(description="1", room="kitchen")
    assert ["chores", "tasks"] == sorted(path for path, _ in log.stored.values())
    task = Task.objects.get(pk=chore.pk)
    task.description = "2"
    task.save()
    assert [{"description": "2", "room": "kitchen"}] == [item for item in published(log)[2:] if "room" in item]
    Task.objects.create(description="no chore")
    assert 5 == len(log.messages)
    chore.tags.add(Tag.objects.create(description="red"))
    assert [["red"]] == [item["tags"] for item in published(log)[5:] if "tags" in item]


def test_parent_stays_when_only_the_child_is_deleted(log: Log) -> None:
    """`keep_parents` deletes one of the two rows; without it both are gone."""
    watch(path="tasks")
    watch(Chore, path="chores")
    chores = [Chore.objects.create(description=str(number), room="kitchen") for number in range(2)]
    before = len(log.messages)
    chores[0].delete(keep_parents=True)
    chores[1].delete()
    deleted = [path for path, message in list(log.stored.values())[before:] if json.loads(message)["DELETE"]]
    assert ["chores", "chores", "tasks"] == sorted(deleted)


def test_heirs_are_published_when_an_abstract_model_is_watched(log: Log) -> None:
    """One line for all models that have the fields."""
    changes = watch(Described, message=lambda item: {"description": item.description})
    Tag.objects.create(description="tag")
    UrgentTask.objects.create(description="task").delete()
    Chore.objects.create(description="chore", room="kitchen")
    changes.saved(Tag.objects.get())
    told = [item["description"] for item in published(log)]
    assert ["tag", "task", "task", "chore", "tag"] == told


def fail(_task: Task) -> Any:
    """Raise what a project's own function may."""
    raise ZeroDivisionError


def break_transaction(_task: Task) -> Any:
    """Fail in the database, which ends a transaction in PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM nothing")


WRONG: dict[str, dict[str, Any]] = {
    "infinite": {"message": lambda _task: {"number": float("inf")}},
    "no JSON": {"message": lambda _task: {"number": object()}},
    "a circle": {"message": lambda _task: (circle := {}, circle.update(circle=circle))[0]},  # type: ignore[var-annotated]
    "half a character": {"message": lambda _task: {"text": "\ud800"}},
    "no mapping": {"message": lambda _task: None},
    "no text": {"path": lambda _task: 7},
    "raising message": {"message": fail},
    "raising path": {"path": fail},
    "failing query": {"message": break_transaction},
}


@pytest.mark.parametrize("is_atomic", [True, False])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_save_and_delete_go_through_when_their_message_can_not_be_made(
    log: Log, wrong: dict[str, Any], *, is_atomic: bool
) -> None:
    """The change is the user's; `on_failure` is called for each, with the reason, and the others are published."""
    failures: list[CorneliusError] = []
    watch(**wrong, on_failure=failures.append)
    publish_changes(Tag, path="tags", message=lambda tag: {"description": tag.description})

    def change() -> None:
        gone = Task.objects.create(description="gone")
        Tag.objects.create(description="published")
        gone.tags.set(Tag.objects.all())
        gone.delete()
        Task.objects.create(description="stays")

    if is_atomic:
        with transaction.atomic():
            change()
            assert [] == failures
    else:
        change()
    assert ["stays"] == [task.description for task in Task.objects.all()]
    assert "published" == published(log)[0]["description"]
    assert {ChangeError} == {type(error) for error in failures}
    assert all(error.__cause__ is not None for error in failures)
    assert str(failures[0]).startswith("a change of todos.Task 1 can't be published: ")


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"path": "no path"}, 422), ({"message": lambda _task: {"text": "x" * 70_000}}, 413)],
    ids=["path", "size"],
)
def test_save_goes_through_when_the_api_refuses_its_message(wrong: dict[str, Any], status: int) -> None:
    """A path that is none, or a text that is too large, is the back-end API's to refuse."""
    failures: list[CorneliusError] = []
    refused = problem(status, errors=[{"index": 0, "field": "path", "detail": "no"}])
    with ScriptedServer([refused]) as server:
        dudley.configure(url=server.url)
        watch(**wrong, on_failure=failures.append)
        with transaction.atomic():
            Task.objects.create(description="1")
    (error,) = failures
    assert isinstance(error, PublishError)
    assert [status] == [failure.status for failure in error.failures]
    assert 1 == Task.objects.count()


@pytest.mark.parametrize("is_atomic", [True, False])
def test_save_and_later_hooks_go_on_when_on_failure_raises(
    caplog: pytest.LogCaptureFixture, *, is_atomic: bool
) -> None:
    """What it raises is logged, with the failure that it was called for."""
    hooks: list[str] = []
    with ScriptedServer([CUT] * 100) as server, caplog.at_level(logging.ERROR, "cornelius"):
        dudley.configure(url=server.url, timeout_seconds=0.2)
        watch(on_failure=fail)
        if is_atomic:
            with transaction.atomic():
                Task.objects.create(description="1")
                transaction.on_commit(lambda: hooks.append("ran"))
            assert ["ran"] == hooks
        else:
            Task.objects.create(description="1")
    assert 1 == Task.objects.count()
    (record,) = caplog.records
    assert record.message.startswith("on_failure has raised an exception; it was called because: the time is over")


def test_saves_wait_once_when_the_api_is_away() -> None:
    """I7: the first one waits for its time; the others are saved at once, and each failure is reported."""
    failures: list[CorneliusError] = []
    with ScriptedServer([]) as server:
        dudley.configure(url=server.url, timeout_seconds=1)
    watch(on_failure=failures.append)
    started = clock()
    for number in range(100):
        Task.objects.create(description=str(number))
    # A trial between them fails at once, as nobody listens there.
    assert clock() - started < 10
    assert 100 == len(failures) == Task.objects.count()
    assert 100 == sum(len(error.messages) for error in failures)


def test_save_goes_through_when_the_project_commits_by_itself(log: Log) -> None:
    """Without `atomic` and without autocommit Django has no hook after the commit."""
    failures: list[CorneliusError] = []
    watch(on_failure=failures.append)
    transaction.set_autocommit(False)
    try:
        Task.objects.create(description="1")
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert 1 == Task.objects.count()
    assert ["TransactionManagementError"] == [type(error.__cause__).__name__ for error in failures]
    assert [] == log.messages


def test_call_is_a_failure_when_the_object_was_never_saved(log: Log) -> None:
    """Nothing can be read of it."""
    failures: list[CorneliusError] = []
    watch(on_failure=failures.append).saved(Task())
    assert [True] == ["no primary key" in str(error) for error in failures]
    assert [] == log.messages


def test_hidden_rows_are_published_when_the_default_manager_leaves_them_out(log: Log) -> None:
    """A soft deletion hides a row from the project's lists, and is a change all the same."""
    watch()
    Task.objects.create(description="hidden")
    assert 0 == Task.objects.count()
    assert [{"description": "hidden", "tags": []}] == published(log)


def test_each_block_is_published_when_a_test_case_captures_its_hooks(log: Log) -> None:
    """In a TestCase nothing is committed; what has run stays among the transaction's hooks."""
    watch()
    with transaction.atomic():
        for number in range(2):
            with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
                task, _ = Task.objects.update_or_create(pk=1, defaults={"description": str(number)})
                task.save()
            assert callbacks
    assert ["0", "1"] == [item["description"] for item in published(log)]


def test_commit_reads_in_few_queries_when_many_objects_were_saved(log: Log) -> None:
    """I7: a large transaction is not followed by a query for each object."""
    watch(message=lambda task: {"description": task.description})
    queries: list[str] = []

    def note(execute: Any, sql: str, *arguments: Any) -> Any:
        queries.append(sql)
        return execute(sql, *arguments)

    with transaction.atomic():
        for number in range(2500):
            Task(description=str(number)).save()
        connection.execute_wrappers.append(note)
    connection.execute_wrappers.remove(note)
    assert [str(number) for number in range(2500)] == [item["description"] for item in published(log)]
    # SQLite takes at most 999 keys in one query.
    assert sum(sql.startswith("SELECT") for sql in queries) <= 6
