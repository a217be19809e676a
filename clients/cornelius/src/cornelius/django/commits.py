"""Publishes changes after the commit of the transaction that made them.

Promises: what is rolled back, also to a savepoint, is not published; no exception leaves this module.
"""

import json
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections, transaction
from django.db.models import Model

from cornelius import ChangeError, CorneliusError, Message, dudley
from cornelius.django.rows import Lookup, Rows
from cornelius.messages import MAX_BATCH_MESSAGES, check_outbox_path

log = logging.getLogger("cornelius")

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Publication(Generic[M]):
    """Where and how changes are published, and what is called when that fails."""

    path: str | Callable[[M], str]
    message: Callable[[M], Mapping[str, Any]]
    on_failure: Callable[[CorneliusError], None]

    def render(self, instance: M, mark: Mapping[str, Any]) -> Message:
        """Return the message about `instance`, with the members of `mark` besides."""
        path = self.path if isinstance(self.path, str) else self.path(instance)
        members = {**self.message(instance), **mark}
        message = Message(path, json.dumps(members, cls=DjangoJSONEncoder, ensure_ascii=False, allow_nan=False))
        check_outbox_path(message.path)
        return message

    def fail(self, error: CorneliusError) -> None:
        """Call `on_failure`; what it raises is logged."""
        try:
            self.on_failure(error)
        except Exception:
            log.exception("on_failure has raised an exception; it was called because: %s", error)

    @contextmanager
    def failing(self, changed: object) -> Iterator[None]:
        """Report what is raised inside as the failure of a change of `changed`, and go on."""
        try:
            yield
        except CorneliusError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001  # the project's own functions may raise anything
            self.fail(change_error(changed, error))


@dataclass(frozen=True, slots=True)
class Saved(Generic[M]):
    """A row was saved. Its message is made after the commit."""

    publication: Publication[M]
    rows: Rows[M]
    lookup: Lookup


@dataclass(frozen=True, slots=True)
class Deleted(Generic[M]):
    """A row was deleted. Its message was made before that."""

    publication: Publication[M]
    rows: Rows[M]
    lookup: Lookup
    message: Message | ChangeError

    def message_or_raise(self) -> Message:
        """Return the message. Errors: ChangeError when it could not be made."""
        if isinstance(self.message, ChangeError):
            raise self.message
        return self.message


Change = Saved[Any] | Deleted[Any]


def change_error(changed: object, error: Exception) -> ChangeError:
    """Return the failure to publish a change of `changed`, an instance or a description, because of `error`."""
    what = f"{changed._meta.label} {changed.pk}" if isinstance(changed, Model) else changed  # noqa: SLF001  # documented
    failure = ChangeError(f"a change of {what} can't be published: {type(error).__name__}: {error}")
    failure.__cause__ = error
    return failure


@contextmanager
def savepoint(using: str) -> Iterator[None]:
    """Keep what fails inside from ending the transaction around it, if there is one."""
    if connections[using].in_atomic_block:
        with transaction.atomic(using=using):
            yield
    else:
        yield


def publish_after_commit(change: Change, using: str) -> None:
    """Publish `change` after the transaction of the database `using`; without a transaction, now.

    It joins the transaction's last hook if that is a batch and was made under the same savepoints: then nothing happens
    between the two, and whatever is rolled back takes exactly its own changes.
    """
    connection = connections[using]
    # The hooks of a TestCase stay after they have run.
    batches = (getattr(hook[1], "__self__", None) for hook in reversed(connection.run_on_commit))
    last = next((batch for batch in batches if isinstance(batch, _Batch) and not batch.has_run), None)
    if last is not None and connection.run_on_commit[-1][1] == last.publish:
        # Django writes None for a block without a savepoint of its own.
        is_same_fate = connection.run_on_commit[-1][0] - {None} == set(connection.savepoint_ids) - {None}
        if is_same_fate and last.on_failure == change.publication.on_failure:
            last.changes.append(change)
            return
    batch = _Batch(using, change, published=set() if last is None else last.published)
    connection.on_commit(batch.publish, robust=True)


class _Batch:
    """Changes that are published together.

    Shape: published has the rows whose state is published; all batches of one transaction share it.
    """

    def __init__(self, using: str, first: Change, published: set[Hashable]) -> None:
        self.changes = [first]
        self.published = published
        self.has_run = False
        self._using = using

    @property
    def on_failure(self) -> Callable[[CorneliusError], None]:
        """The callback for failures, the same for all changes."""
        return self.changes[0].publication.on_failure

    def publish(self) -> None:
        """Publish what the database has now of the saved rows, each once, and that the deleted ones are gone."""
        self.has_run = True
        changes, messages = iter(self.changes), list[Message]()
        while some := list(islice(changes, MAX_BATCH_MESSAGES)):
            messages += self._render(some)
        with self.changes[0].publication.failing(f"{len(messages)} objects"):
            dudley.updates(messages)

    def _render(self, changes: list[Change]) -> list[Message]:
        found, messages = self._fetch(changes), []
        for change in changes:
            if isinstance(change, Deleted):
                self.published.discard((change.publication, change.rows.model, change.lookup.value))
                with change.publication.failing(change.rows.model):
                    messages.append(change.message_or_raise())
            elif instance := found.get((change.rows, change.lookup)):
                row = (change.publication, change.rows.model, instance.pk)
                if row not in self.published:
                    self.published.add(row)
                    with change.publication.failing(instance), savepoint(self._using):
                        messages.append(change.publication.render(instance, {}))
        return messages

    def _fetch(self, changes: list[Change]) -> dict[tuple[Rows[Any], Lookup], Any]:
        """Return the saved rows that are still there."""
        lookups: dict[Rows[Any], set[Lookup]] = {}
        for change in changes:
            if isinstance(change, Saved):
                lookups.setdefault(change.rows, set()).add(change.lookup)
        found: dict[tuple[Rows[Any], Lookup], Any] = {}
        for rows, wanted in lookups.items():
            publication = next(change.publication for change in changes if change.rows is rows)
            with publication.failing(f"{len(wanted)} {rows.model.__name__} objects"), savepoint(self._using):
                found |= {(rows, lookup): row for lookup, row in rows.fetch(wanted, self._using).items()}
        return found
