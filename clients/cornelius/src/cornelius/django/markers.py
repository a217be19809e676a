"""The rows of the outbox that say which object was saved. Their messages are made when they are published.

Promises: a message has what the database has at that time, so it never has an older state than the one before it.
"""

import json
from collections.abc import Sequence
from typing import Any

from django.db import InterfaceError, OperationalError, connections

from cornelius import ChangeError, Message
from cornelius.django.commits import Publication, change_error
from cornelius.django.rows import Lookup, Rows

_publications: dict[str, tuple[Publication[Any], list[Rows[Any]]]] = {}
# SQLite's primary results codes for "busy" and "locked": the read may succeed later.
_SQLITE_PASSING = frozenset({5, 6})

Rendered = Message | ChangeError | None
"""What became of a marker: its message, why there is none, or that the row is gone, whose deletion is an event too."""


def register(label: str, publication: Publication[Any], rows: list[Rows[Any]]) -> str:
    """Return the name by which other processes of the project know a publication of the model `label`.

    Shape: rows may grow.
    """
    path: Any = publication.path
    if not isinstance(path, str):
        # An object that can be called has the name of its class.
        named = path if hasattr(path, "__qualname__") else type(path)
        path = f"{named.__module__}.{named.__qualname__}"
    name = f"{label} {path}"
    number, free = 1, name
    while free in _publications:
        number += 1
        free = f"{name}#{number}"
    _publications[free] = publication, rows
    return free


def encode(name: str, rows: Rows[Any], lookup: Lookup) -> str:
    """Return the marker for the row at `lookup`, for the publication `name`."""
    model = rows.model._meta.label  # noqa: SLF001  # documented by Django
    marker = {"changes": name, "model": model, "field": lookup.field, "value": rows.encode(lookup)}
    return json.dumps(marker, ensure_ascii=False)


def render(markers: Sequence[str], using: str) -> list[Rendered]:
    """Return what became of `markers`, by what the database `using` has now.

    Errors: django.db's OperationalError and InterfaceError when a database can't be read now.
    """
    read = [_read(marker) for marker in markers]
    found = _fetch([item for item in read if not isinstance(item, ChangeError)], using)
    return [item if isinstance(item, ChangeError) else _render(*item, found[item[1:]]) for item in read]


def _read(marker: str) -> "tuple[Publication[Any], Rows[Any], Lookup] | ChangeError":
    try:
        members = json.loads(marker)
        publication, all_rows = _publications[members["changes"]]
        rows = next(rows for rows in all_rows if rows.model._meta.label == members["model"])  # noqa: SLF001
        return publication, rows, rows.decode(members["field"], members["value"])
    except (KeyError, StopIteration):
        return ChangeError(f"this process knows no publish_changes for {marker}; call it in a module like models.py")
    except Exception as error:  # noqa: BLE001  # a field of the project may raise anything
        return change_error(marker, error)


def _fetch(
    wanted: "list[tuple[Publication[Any], Rows[Any], Lookup]]", using: str
) -> dict[tuple[Rows[Any], Lookup], Any]:
    """Return the rows, None for those that are gone, and why for those that can't be read."""
    lookups: dict[Rows[Any], list[Lookup]] = {}
    for _, rows, lookup in wanted:
        lookups.setdefault(rows, []).append(lookup)
    found: dict[tuple[Rows[Any], Lookup], Any] = {}
    for rows, some in lookups.items():
        try:
            instances: dict[Lookup, Any] = rows.fetch(some, using)
        except Exception as error:  # noqa: BLE001  # a manager of the project may raise anything
            instances = dict.fromkeys(some, _failure(rows.model, error))
        found |= {(rows, lookup): instances.get(lookup) for lookup in some}
    return found


def _render(publication: Publication[Any], _rows: Rows[Any], _lookup: Lookup, found: Any) -> Rendered:
    if found is None or isinstance(found, ChangeError):
        return found
    try:
        return publication.render(found, {})
    except Exception as error:  # noqa: BLE001  # the project's own functions may raise anything
        return _failure(found, error)


def _failure(changed: object, error: Exception) -> ChangeError:
    """Return why there is no message. Errors: `error` itself, when a database was lost or is busy."""
    if isinstance(error, OperationalError | InterfaceError):
        opened = list(connections.all(initialized_only=True))
        is_busy = getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in _SQLITE_PASSING
        if is_busy or not all(connection.connection is not None and connection.is_usable() for connection in opened):
            for connection in opened:
                connection.close()
                del connections[connection.alias]
            raise error
    return change_error(changed, error)
