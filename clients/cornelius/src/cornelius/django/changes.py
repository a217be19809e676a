"""Publishes the committed state of models after each transaction that changed them.

Promises: what is rolled back is not published. With an outbox each change and its event are committed together, and the
relay publishes it. Without one the process publishes after the commit, unless it dies before. Then nothing here makes a
save, a deletion or a transaction fail.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial, wraps
from typing import Any, Generic, TypeGuard, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
from django.db.models import ManyToManyField, Model
from django.db.models.fields.related import lazy_related_operation
from django.db.models.signals import class_prepared, m2m_changed, post_save, pre_delete

from cornelius import ChangeError, CorneliusError, Message
from cornelius.django import markers, outbox
from cornelius.django.commits import Change, Deleted, Publication, Saved, change_error, publish_after_commit, savepoint
from cornelius.django.rows import Lookup, Relation, Rows, tables_of

log = logging.getLogger("cornelius")

M = TypeVar("M", bound=Model)

_RELATED = frozenset({"post_add", "post_remove"})
# After it, the relation no longer says what it was with.
_CLEARED = "pre_clear"


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
    """Publish every change of `model` after its commit: `message` of the object as JSON, on `path`.

    Saved is what the database has after the commit: `message` and `path` are called with an object that was read then,
    once for each that the transaction changed. Saving through a proxy, a parent or a child of the model counts, and so
    does a change of a many-to-many relation, at both its ends. An abstract model stands for all that inherit from it.

    Deleted is what the database had: `message` and `path` are called before the deletion, and the message has
    `"DELETE": true` besides. What Django sends no signal for is not published, as `QuerySet.update` and `bulk_create`,
    nor is what a fixture loads: call `saved` or `deleted` of what this returns.

    Shape: on_failure is called for each failure to make a message or to publish. No save or transaction fails for it.
        With an outbox it is called for the message of a deletion. What can't be published otherwise, the relay refuses.
    Errors: with an outbox, a save or a deletion raises django.db.Error when its event can't be written.
    """
    changes = Changes(model, Publication(path=path, message=message, on_failure=on_failure))
    changes.connect()
    return changes


class Changes(Generic[M]):
    """Publishes changes of one model's rows, or of all models that inherit from an abstract one."""

    def __init__(self, model: type[M], publication: Publication[M]) -> None:
        self._model = model
        self._publication = publication
        # Those of an abstract model's heirs come as they are defined.
        self._rows: list[Rows[M]] = [] if model._meta.abstract else [Rows(model)]  # noqa: SLF001  # documented
        self._marked_as = markers.register(model._meta.label, publication, self._rows)  # noqa: SLF001  # documented

    def saved(self, instance: M, *, using: str | None = None) -> None:
        """Publish the state of `instance`'s row, once the transaction is committed.

        Shape: using is the database, that of the instance by default.
        """
        for rows in self._rows_of(instance):
            self._save(rows, instance, using or instance._state.db or DEFAULT_DB_ALIAS)  # noqa: SLF001  # documented

    def deleted(self, instance: M, *, using: str | None = None) -> None:
        """Publish that `instance` is gone, once the transaction is committed. Shape: using as for `saved`."""
        for rows in self._rows_of(instance):
            self._delete(rows, instance, using or instance._state.db or DEFAULT_DB_ALIAS)  # noqa: SLF001  # documented

    def connect(self) -> None:
        """Receive the signals of all models that are there, and of those that come."""
        class_prepared.connect(self._consider, weak=False, dispatch_uid=self._name)
        for model in self._known_models():
            self._consider(model)

    @property
    def _name(self) -> str:
        # A module that is imported by two names publishes once.
        return f"cornelius:{self._model._meta.label}:{self._publication.path}"  # noqa: SLF001  # documented by Django

    def _known_models(self) -> list[type[Model]]:
        registered = self._model._meta.apps.all_models  # noqa: SLF001  # complete only when all apps are loaded
        return [model for models in registered.values() for model in models.values()]

    def _rows_of(self, instance: Model) -> list[Rows[M]]:
        return [rows for rows in self._rows if rows.are_changed_by(type(instance))]

    def _consider(self, sender: type[Model], **_signal: object) -> None:
        """Receive Django's `class_prepared`: connect what changes of `sender` mean here."""
        # Migrations make models of their own.
        if sender._meta.apps is not self._model._meta.apps:  # noqa: SLF001
            return
        if self._inherits_first(sender):
            self._rows.append(Rows(sender))
            for earlier in self._known_models():
                self._connect(self._rows[-1], earlier)
        for rows in self._rows:
            self._connect(rows, sender)

    def _inherits_first(self, sender: type[Model]) -> TypeGuard[type[M]]:
        """Return whether `sender` is the first model with a table on its line of heirs of an abstract model."""
        is_heir = self._model._meta.abstract and issubclass(sender, self._model)  # noqa: SLF001
        return is_heir and not any(issubclass(table, self._model) for table in tables_of(sender) if table is not sender)

    def _connect(self, rows: Rows[M], sender: type[Model]) -> None:
        name = f"{self._name}:{rows.model._meta.label}"  # noqa: SLF001
        if rows.are_changed_by(sender):
            _save_in_transaction(sender)
            post_save.connect(partial(self._receive_save, rows), sender=sender, weak=False, dispatch_uid=name)
        # Parents that go with a child have a signal of their own.
        if rows.are_those_of(sender):
            pre_delete.connect(partial(self._receive_delete, rows), sender=sender, weak=False, dispatch_uid=name)
        for field in sender._meta.local_many_to_many:  # noqa: SLF001
            ends = field.remote_field
            if ends.through is not None:  # as it is where another model was swapped in
                connect = partial(self._connect_relation, rows, field, f"{name}:{field.name}")
                lazy_related_operation(connect, sender, ends.model, ends.through)

    def _connect_relation(
        self,
        rows: Rows[M],
        field: "ManyToManyField[Any, Any]",
        name: str,
        source: type[Model],
        target: type[Model],
        through: type[Model],
    ) -> None:
        relation = Relation(field, source, target, through)
        if relation.concerns(rows):
            receive = partial(self._receive_relation, rows, relation)
            m2m_changed.connect(receive, sender=through, weak=False, dispatch_uid=name)

    def _receive_save(self, rows: Rows[M], *, instance: Model, raw: bool, using: str, **_signal: object) -> None:
        """Receive Django's `post_save`."""
        if not raw:
            self._save(rows, instance, using)

    def _receive_delete(self, rows: Rows[M], *, instance: Model, using: str, **_signal: object) -> None:
        """Receive Django's `pre_delete`, as relations are gone when `post_delete` comes."""
        self._delete(rows, instance, using)

    def _receive_relation(
        self,
        rows: Rows[M],
        relation: Relation,
        *,
        instance: Model,
        action: str,
        reverse: bool,
        pk_set: set[Any] | None,
        using: str,
        **_signal: object,
    ) -> None:
        """Receive Django's `m2m_changed`."""
        changes: list[Change] = []
        if action == _CLEARED or (action in _RELATED and pk_set):
            with self._publication.failing(instance), savepoint(using):
                found = relation.changed(rows, instance, pk_set, using, reverse=reverse)
                changes += [Saved(self._publication, rows, lookup) for lookup in found]
        self._publish(changes, instance, using)

    def _save(self, rows: Rows[M], instance: Model, using: str) -> None:
        changes: list[Change] = []
        with self._publication.failing(instance):
            changes.append(Saved(self._publication, rows, rows.lookup(instance)))
        self._publish(changes, instance, using)

    def _delete(self, rows: Rows[M], instance: Model, using: str) -> None:
        changes: list[Change] = []
        with self._publication.failing(instance):
            lookup = rows.lookup(instance)
            try:
                message: Message | ChangeError = self._render_deleted(rows, lookup, instance, using)
            except Exception as error:  # noqa: BLE001  # the project's own functions may raise anything
                message = change_error(instance, error)
            changes.append(Deleted(self._publication, rows, lookup, message))
        self._publish(changes, instance, using)

    def _render_deleted(self, rows: Rows[M], lookup: Lookup, instance: Model, using: str) -> Message:
        with savepoint(using):
            if outbox.is_on() and connections[using].in_atomic_block:
                # A change that is under way must not be committed between this message and the deletion.
                rows.lock(lookup, using)
            # The instance may have members that were never saved, or be of a class beside the watched one.
            stored = rows.fetch([lookup], using).get(lookup)
            return self._publication.render(cast("M", instance) if stored is None else stored, {"DELETE": True})

    def _publish(self, changes: list[Change], instance: Model, using: str) -> None:
        if outbox.is_on():
            for change in changes:
                self._write(change, using)
            return
        with self._publication.failing(instance):
            for change in changes:
                publish_after_commit(change, using)

    def _write(self, change: Change, using: str) -> None:
        key = f"{self._marked_as} {change.rows.model._meta.label} {change.rows.encode(change.lookup)}"  # noqa: SLF001
        if isinstance(change, Saved):
            outbox.render(markers.encode(self._marked_as, change.rows, change.lookup), key, using)
            return
        with self._publication.failing(change.rows.model):
            change.message_or_raise()
        if isinstance(change.message, Message):
            outbox.publish(change.message.path, change.message.message, key, using)


def _save_in_transaction(model: type[Model]) -> None:
    """Make a save and what receives its signals one transaction while there is an outbox. Django's is only the save."""
    save_base = model.save_base
    if hasattr(save_base, "has_transaction"):
        return

    @wraps(save_base)
    def save(self: Model, *arguments: Any, **options: Any) -> None:
        options["using"] = options.get("using") or router.db_for_write(type(self), instance=self)
        # What a receiver raises must not end a transaction that is there already.
        is_alone = outbox.is_on() and not connections[options["using"]].in_atomic_block
        with transaction.atomic(using=options["using"], savepoint=False) if is_alone else nullcontext():
            save_base(self, *arguments, **options)

    save.has_transaction = True  # type: ignore[attr-defined]
    model.save_base = save  # type: ignore[method-assign]
