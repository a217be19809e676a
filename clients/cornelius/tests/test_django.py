"""`cornelius.django`: what a project publishes, and how it is configured."""

import json
import logging
from typing import Any

import pytest
from django.apps import apps
from django.apps.config import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.test import override_settings

from cornelius import CorneliusError, dudley
from cornelius.django import Changes, publish_changes

from .django_project import Task
from .django_support import published, rolled_back
from .support import CUT, Log, ScriptedServer, problem

pytestmark = pytest.mark.usefixtures("project")


def as_message(task: Task) -> dict[str, Any]:
    """Return what the tutorial's task_to_raw does."""
    return {"guid": f"/task/{task.pk}", "description": task.description}


def watch(**options: Any) -> Changes[Task]:
    """Publish the changes of Task."""
    return publish_changes(Task, path="tasks", message=as_message, **options)


def test_handlers_of_the_tutorial_publish_when_they_are_as_printed(log: Log) -> None:
    """The text of 2009, its indentation restored: nothing in it has to change."""
    task_to_raw = as_message

    def task_saved(sender, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
        try:
            instance = kwargs["instance"]
            dudley.update("tasks", json.dumps(task_to_raw(instance)))
        except:  # noqa: E722, S110
            pass

    def task_destroyed(sender, **kwargs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
        try:
            instance = kwargs["instance"]
            data = task_to_raw(instance)
            data["DELETE"] = True
            dudley.update("tasks", json.dumps(data))
        except:  # noqa: E722, S110
            pass

    post_save.connect(task_saved, sender=Task)
    post_delete.connect(task_destroyed, sender=Task)

    Task.objects.create(description="Buy milk").delete()

    task = {"guid": "/task/1", "description": "Buy milk"}
    assert [task, {**task, "DELETE": True}] == published(log)


def test_changes_are_published_when_they_are_committed(log: Log) -> None:
    """I11: created, changed, deleted, each at once where there is no transaction."""
    watch()
    task = Task.objects.create(description="ä")
    task.description = "b"
    task.save()
    assert [{"guid": "/task/1", "description": "ä"}, {"guid": "/task/1", "description": "b"}] == published(log)
    task.delete()
    assert {"guid": "/task/1", "description": "b", "DELETE": True} == published(log)[-1]


def test_changes_are_published_in_one_request_when_the_transaction_is_committed(log: Log) -> None:
    """I2, I11: not before the commit, each once, in their order."""
    watch()
    with transaction.atomic():
        tasks = [Task.objects.create(description=str(number)) for number in range(3)]
        tasks[0].delete()
        tasks[1].description = "never saved"
        assert [] == log.messages
    told = [(task.get("DELETE", False), task["description"]) for task in published(log)]
    assert [(False, "1"), (False, "2"), (True, "0")] == told
    assert [3] == log.batch_sizes


def test_nothing_is_published_when_the_transaction_is_rolled_back(log: Log) -> None:
    """I11: an uncommitted change yields no event; the next transaction's are its own."""
    watch()
    with rolled_back():
        Task.objects.create(description="never")
    with transaction.atomic():
        Task.objects.create(description="then")
    assert ["then"] == [task["description"] for task in published(log)]


def test_changes_keep_their_order_when_savepoints_are_rolled_back(log: Log) -> None:
    """I2, I11: exactly what a savepoint saved goes with it, wherever in the transaction it lies."""
    watch()
    with transaction.atomic():
        Task.objects.create(description="1")
        with transaction.atomic():
            Task.objects.create(description="2")
        with rolled_back():
            Task.objects.create(description="never")
        Task.objects.create(description="3")
        with transaction.atomic():
            Task.objects.create(description="4")
            with rolled_back():
                Task.objects.create(description="never")
            Task.objects.create(description="5")
        Task.objects.create(description="6")
    assert ["1", "2", "3", "4", "5", "6"] == [task["description"] for task in published(log)]


def test_other_hooks_run_in_their_place_when_they_are_between_changes(log: Log) -> None:
    """What the project does after a commit finds published what was saved before it, and nothing else."""
    watch()
    seen: list[int] = []
    with transaction.atomic():
        Task.objects.create(description="1")
        Task.objects.create(description="2")
        transaction.on_commit(lambda: seen.append(len(log.messages)))
        Task.objects.create(description="3")
    assert [2] == seen
    assert [2, 1] == log.batch_sizes


def test_path_may_depend_on_the_instance_when_it_is_a_function(log: Log) -> None:
    """As users/7."""
    publish_changes(Task, path=lambda task: f"tasks/{task.pk}", message=as_message)
    Task.objects.create(description="1")
    assert ["tasks/1"] == [path for path, _ in log.stored.values()]


def test_changes_are_told_once_when_they_are_watched_twice(log: Log) -> None:
    """A module may be imported by two names."""
    watch()
    watch()
    Task.objects.create(description="1")
    assert 1 == len(log.messages)


def test_changes_without_a_signal_are_told_when_the_project_says_so(log: Log) -> None:
    """`QuerySet.update` sends no signal, and fixtures are not news."""
    changes = watch()
    task = Task.objects.create(description="1")
    Task.objects.update(description="2")
    task.refresh_from_db()
    changes.saved(task)
    task.save_base(raw=True)
    changes.deleted(task)
    assert ["1", "2", "2"] == [item["description"] for item in published(log)]


@pytest.mark.parametrize("is_atomic", [True, False])
def test_failure_is_logged_when_the_api_is_gone(caplog: pytest.LogCaptureFixture, *, is_atomic: bool) -> None:
    """The change is committed: its request must not fail for that."""
    with ScriptedServer([CUT] * 100) as server:
        dudley.configure(url=server.url, timeout_seconds=0.2)
        watch()
        with caplog.at_level(logging.ERROR, "cornelius"):
            if is_atomic:
                with transaction.atomic():
                    Task.objects.create(description="1")
            else:
                Task.objects.create(description="1")
    assert 1 == Task.objects.count()
    (record,) = caplog.records
    assert record.message.startswith("changes are committed, but not published: the time is over")


def test_failure_has_the_messages_when_the_project_wants_to_keep_them() -> None:
    """With their ids, they can be published later, once."""
    failures: list[CorneliusError] = []
    with ScriptedServer([problem(401)]) as server:
        dudley.configure(url=server.url)
        watch(on_failure=failures.append)
        Task.objects.create(description="1")
    (error,) = failures
    assert ["tasks"] == [message.path for message in error.messages]


@pytest.mark.parametrize("name", ["cornelius", "cornelius.django"])
def test_app_is_the_same_when_it_is_named_as_in_2009(name: str) -> None:
    """INSTALLED_APPS takes both."""
    config = AppConfig.create(name)
    assert ("cornelius.django", "cornelius") == (config.name, config.label)


def test_settings_configure_the_api_when_the_project_has_them() -> None:
    """CORNELIUS has the arguments of `dudley.configure`."""
    config, stored = apps.get_app_config("cornelius"), Log()
    with ScriptedServer([stored.publish]) as server:
        with override_settings(CORNELIUS={"url": server.url, "key": "k-django"}):
            config.ready()
        dudley.update("tasks", "1")
    assert "Bearer k-django" == server.headers[0]["Authorization"]


@pytest.mark.parametrize("given", [{"uri": "http://a"}, {"url": "nonsense"}, "nonsense"])
def test_settings_are_refused_when_they_are_none(given: Any) -> None:
    """At the start, as Django does."""
    with override_settings(CORNELIUS=given), pytest.raises(ImproperlyConfigured, match="CORNELIUS"):
        apps.get_app_config("cornelius").ready()
