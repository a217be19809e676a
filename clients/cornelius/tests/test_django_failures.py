"""What `publish_changes` does when something fails: no save, deletion or transaction fails with it."""

import logging
from typing import Any

import pytest
from django.db import connection, transaction
from tests.testkit.deadlines import clock

from cornelius import ChangeError, CorneliusError, PublishError, dudley
from cornelius.django import publish_changes

from .django_project import Tag, Task
from .django_support import published, watch
from .support import CUT, Log, ScriptedServer, problem

pytestmark = pytest.mark.usefixtures("project")


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
