"""Finds which rows of one model a saved instance or a changed relation concerns.

A row is changed through its model, through proxies, parents and children of it, and through many-to-many relations.
"""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

from django.db.models import Field, ManyToManyField, Model, QuerySet

M = TypeVar("M", bound=Model)


class Lookup(NamedTuple):
    """How to find one row: `field` is unique, and is "pk" or an attribute name."""

    field: str
    value: Any


class Rows(Generic[M]):
    """The rows of `model`, which is a model with a table or a proxy of one."""

    def __init__(self, model: type[M]) -> None:
        self.model = model
        self._tables = tables_of(model)

    def are_changed_by(self, other: type[Model]) -> bool:
        """Return whether saving an instance of `other` may change one of these rows."""
        return not set(self._tables).isdisjoint(tables_of(other))

    def are_those_of(self, other: type[Model]) -> bool:
        """Return whether `other` has exactly these rows: it is the model itself, or a proxy of the same table."""
        return tables_of(other)[:1] == self._tables[:1]

    def inherit_from(self, other: type[Model]) -> bool:
        """Return whether these rows have the fields and relations of `other`."""
        return other._meta.concrete_model in self._tables  # noqa: SLF001  # documented by Django

    def lookup(self, instance: Model) -> Lookup:
        """Return how to find the row that `instance` shares. Errors: ValueError when it has no primary key."""
        others = tables_of(type(instance))
        # The model's own table comes first, its parents' follow.
        common = next(table for table in self._tables if table in others)
        key = _primary_key(common)
        value = getattr(instance, key.attname)
        if value is None:
            raise ValueError("the object has no primary key; it was never saved, or it is deleted")
        # A key may have been assigned as text.
        return Lookup("pk" if common is self._tables[0] else key.attname, key.to_python(value))

    def encode(self, lookup: Lookup) -> str:
        """Return the value of `lookup` as text."""
        key = self._field(lookup.field)
        return key.value_to_string(SimpleNamespace(**{key.attname: lookup.value}))  # type: ignore[arg-type]  # read only

    def decode(self, field: str, text: str) -> Lookup:
        """Return the lookup whose value was encoded. Errors: LookupError, ValueError, django's ValidationError."""
        value = self._field(field).to_python(text)
        # The key of several columns is a tuple in a row.
        return Lookup(field, tuple(value) if isinstance(value, list) else value)

    def lock(self, lookup: Lookup, using: str) -> None:
        """Keep the row as it is until the transaction ends, where the database can."""
        rows: QuerySet[M] = QuerySet(self.model).using(using).filter(**{lookup.field: lookup.value})
        rows.select_for_update().values_list("pk").first()

    def _field(self, name: str) -> "Field[Any, Any]":
        field = _primary_key(self._tables[0]) if name == "pk" else self.model._meta.get_field(name)  # noqa: SLF001
        assert isinstance(field, Field), "a lookup names a column"  # noqa: S101
        return field

    def fetch(self, lookups: Iterable[Lookup], using: str) -> dict[Lookup, M]:
        """Return what the database `using` has of these rows now, also what the model's default manager hides."""
        values: dict[str, list[Any]] = {}
        for field, value in lookups:
            values.setdefault(field, []).append(value)
        rows = self.model._base_manager.using(using)  # noqa: SLF001  # documented by Django
        return {
            Lookup(field, value): instance
            for field, wanted in values.items()
            for value, instance in rows.in_bulk(wanted, field_name=field).items()
        }


class Relation:
    """The many-to-many relation `field` of `source` with `target`, whose pairs `through` has."""

    def __init__(
        self, field: "ManyToManyField[Any, Any]", source: type[Model], target: type[Model], through: type[Model]
    ) -> None:
        self._field = field
        self._source, self._target, self._through = source, target, through

    def concerns(self, rows: Rows[M]) -> bool:
        """Return whether `rows` are at one end."""
        return rows.inherit_from(self._source) or rows.inherit_from(self._target)

    def changed(
        self, rows: Rows[M], instance: Model, pk_set: set[Any] | None, using: str, *, reverse: bool
    ) -> list[Lookup]:
        """Return which of `rows` change with the relation of `instance`, at either end.

        Shape: pk_set and reverse as in Django's `m2m_changed`; None means everything that `instance` is related to.
        """
        near, far = (self._target, self._source) if reverse else (self._source, self._target)
        lookups = [rows.lookup(instance)] if rows.inherit_from(near) else []
        if rows.inherit_from(far):
            names = self._field.m2m_field_name(), self._field.m2m_reverse_field_name()
            near_name, far_name = reversed(names) if reverse else names
            far_key: Any = self._through._meta.get_field(far_name)  # noqa: SLF001  # documented by Django
            if pk_set is None:
                related = self._through._base_manager.using(using).filter(**{near_name: instance})  # noqa: SLF001
                pk_set = set(related.values_list(far_key.attname, flat=True))
            field = far_key.target_field
            lookups += [Lookup(field.attname, field.to_python(value)) for value in pk_set]
        return lookups


def tables_of(model: type[Model]) -> list[type[Model]]:
    """Return the models whose tables have a part of each row of `model`, its own first. An abstract model has none."""
    concrete = model._meta.concrete_model  # noqa: SLF001  # documented by Django
    return [] if concrete is None else [concrete, *concrete._meta.get_parent_list()]  # noqa: SLF001


def _primary_key(model: type[Model]) -> "Field[Any, Any]":
    key = model._meta.pk  # noqa: SLF001  # documented by Django
    assert key is not None, "a model with a table has one"  # noqa: S101
    return key
