"""Publishes the changes of models once they are committed.

Promises: what is rolled back is not published; the changes of one transaction are published in their order, together.
A process that dies between the commit and the publishing publishes nothing of it.
"""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections
from django.db.models import Model
from django.db.models.signals import post_delete, post_save

from cornelius import CorneliusError, Message, dudley

log = logging.getLogger("cornelius")

M = TypeVar("M", bound=Model)


def log_failure(error: CorneliusError) -> None:
    """Log that changes were not published. What else could be done is in `error.messages`, and its ids make it safe."""
    log.error("changes are committed, but not published: %s", error)


def publish_changes(
    model: type[M],
    *,
    path: str | Callable[[M], str],
    message: Callable[[M], Mapping[str, Any]],
    on_failure: Callable[[CorneliusError], None] = log_failure,
) -> "Changes[M]":
    """Publish every change of `model` after its commit: `message` of the instance as JSON, on `path`.

    After a delete it has `"DELETE": true` besides. What `QuerySet.update` and `bulk_create` change is not among it, as
    Django sends no signal then, nor is what a fixture loads: call `saved` or `deleted` of what this returns.

    Shape: on_failure is called after the commit, when publishing has failed.
    """
    changes = Changes(path, message, on_failure)
    name = f"cornelius:{model._meta.label}:{path}"  # noqa: SLF001  # documented by Django, whatever its name says
    post_save.connect(changes.receive_save, sender=model, weak=False, dispatch_uid=name)
    post_delete.connect(changes.receive_delete, sender=model, weak=False, dispatch_uid=name)
    return changes


class Changes(Generic[M]):
    """Tells of changes of one model's instances."""

    def __init__(
        self,
        path: str | Callable[[M], str],
        message: Callable[[M], Mapping[str, Any]],
        on_failure: Callable[[CorneliusError], None],
    ) -> None:
        self._path = path
        self._message = message
        self._on_failure = on_failure

    def saved(self, instance: M, *, using: str = "default") -> None:
        """Publish that `instance` is as it is now, once the transaction of the database `using` is committed."""
        self._publish(instance, {}, using)

    def deleted(self, instance: M, *, using: str = "default") -> None:
        """Publish that `instance` is gone, once the transaction of the database `using` is committed."""
        self._publish(instance, {"DELETE": True}, using)

    def receive_save(self, *, instance: M, raw: bool, using: str, **_signal: object) -> None:
        """Receive Django's `post_save`."""
        if not raw:
            self.saved(instance, using=using)

    def receive_delete(self, *, instance: M, using: str, **_signal: object) -> None:
        """Receive Django's `post_delete`."""
        self.deleted(instance, using=using)

    def _publish(self, instance: M, mark: dict[str, Any], using: str) -> None:
        # Now, since the instance may be another when the commit comes.
        path = self._path if isinstance(self._path, str) else self._path(instance)
        members = {**self._message(instance), **mark}
        text = json.dumps(members, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False)
        _publish_after_commit(Message(path, text), using, self._on_failure)


class _Batch:
    """Messages that are published together, after the commit of what they tell."""

    def __init__(self, first: Message, on_failure: Callable[[CorneliusError], None]) -> None:
        self.messages = [first]
        self.on_failure = on_failure

    def __call__(self) -> None:
        try:
            dudley.updates(self.messages)
        except CorneliusError as error:
            self.on_failure(error)


def _publish_after_commit(message: Message, using: str, on_failure: Callable[[CorneliusError], None]) -> None:
    """Add `message` to what the transaction publishes next; without a transaction, publish it now.

    It joins the transaction's last hook if that is a batch and was made under the same savepoints: then nothing happens
    between the two, and whatever is rolled back takes exactly its own messages.
    """
    connection = connections[using]
    if connection.run_on_commit:
        savepoints, hook = connection.run_on_commit[-1][:2]
        # Django writes None for a block without a savepoint of its own.
        is_same_fate = savepoints - {None} == set(connection.savepoint_ids) - {None}
        if is_same_fate and isinstance(hook, _Batch) and hook.on_failure == on_failure:
            hook.messages.append(message)
            return
    connection.on_commit(_Batch(message, on_failure))
