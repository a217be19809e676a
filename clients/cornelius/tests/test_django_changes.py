"""What `publish_changes` publishes: the committed state of every kind of model."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Value
from django.db.models.functions import Concat
from django.test import TestCase

from .django_project import Chore, Described, Tag, Task, UrgentTask
from .django_support import published, rolled_back, watch
from .support import Log

pytestmark = pytest.mark.usefixtures("project")


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
