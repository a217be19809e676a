"""What tests of `cornelius.django` share: a fresh project, and what it publishes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction
from django.db.models.signals import class_prepared, m2m_changed, post_delete, post_save, pre_delete

from cornelius import dudley
from cornelius.django import Changes, publish_changes

from .django_project import Task, create_tables
from .support import Log, ScriptedServer

SIGNALS = (class_prepared, m2m_changed, post_delete, post_save, pre_delete)


@contextmanager
def fresh_project() -> Iterator[None]:
    """Begin with empty databases, and with models that nobody watches; leave `dudley` without settings."""
    create_tables()
    before = [list(signal.receivers) for signal in SIGNALS]
    yield
    for signal, receivers in zip(SIGNALS, before, strict=True):
        signal.receivers[:] = receivers
        signal.sender_receivers_cache.clear()
    dudley.configure()


@contextmanager
def publishing() -> Iterator[Log]:
    """Yield what `dudley` publishes."""
    stored = Log()
    with ScriptedServer([stored.publish] * 100) as server:
        dudley.configure(url=server.url)
        yield stored


@contextmanager
def rolled_back() -> Iterator[None]:
    """Undo what happens inside; a savepoint when there is a transaction already."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def published(log: Log) -> list[Any]:
    """Return what was published, decoded."""
    return [json.loads(message) for message in log.messages]


def with_tags(task: Task) -> dict[str, Any]:
    """Return what a page shows: the description, and the tags."""
    return {"description": task.description, "tags": sorted(tag.description for tag in task.tags.all())}


def watch(model: type[Any] = Task, **options: Any) -> Changes[Any]:
    """Publish the changes of `model`, with tags."""
    return publish_changes(model, **{"path": "tasks", "message": with_tags, **options})
