"""Writes events in the transactions that they report; a relay publishes them.

Promises: an event and the change that it reports are committed, or rolled back, together. Source: docs/outbox.md.
"""

import json
from typing import cast

from django.apps import apps
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from cornelius.messages import RENDERINGS, REVOCATIONS, Message, check_outbox_path

SETTING = "outbox"
POSTGRES = "postgresql"


def is_on() -> bool:
    """Return whether the project has an outbox."""
    return bool(getattr(settings, "CORNELIUS", {}).get(SETTING))


def publish(path: str, message: str, ordering_key: str, using: str) -> str:
    """Write a message into the database `using`, and return the event's id. Errors: django.db.Error."""
    return _write("publish(%s, %s::text, %s)", [path, message, ordering_key], path, message, ordering_key, using)


def render(marker: str, ordering_key: str, using: str) -> str:
    """Write an event whose message is made by the relay, and return its id. Errors: django.db.Error."""
    return _write("render(%s, %s)", [marker, ordering_key], RENDERINGS, marker, ordering_key, using)


def _write(call: str, arguments: list[str | None], path: str, message: str, ordering_key: str, using: str) -> str:
    """Write an event: by a call of a function where there is the schema `roots`, else as a row of the app's table."""
    connection = connections[using]
    if connection.vendor == POSTGRES:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT roots.{call}", arguments)
            return str(cast("tuple[object]", cursor.fetchone())[0])
    event = apps.get_model("cornelius", "Event")(path=path, message=message, ordering_key=ordering_key)
    # Unlike a save it sends no signals, which the project may receive for all models.
    type(event)._base_manager.using(using).bulk_create([event])  # noqa: SLF001  # documented by Django
    return str(event.event_id)


class DjangoOutboxWriter:
    """What `dudley` writes events with. It is an OutboxWriter."""

    def publish(self, path: str, message: str, ordering_key: str | None, using: str | None) -> str:
        """Publish a message once the transaction is committed, and return its id.

        Errors: TypeError or ValueError for what is no message; django.db.Error.
        """
        checked = Message(path, message)
        check_outbox_path(checked.path)
        return publish(path, message, path if ordering_key is None else ordering_key, using or DEFAULT_DB_ALIAS)

    def revoke(self, subject: str | None, path: str | None, uid: str | None, using: str | None) -> str:
        """Withdraw what is named once the transaction is committed, and return the event's id.

        Errors: django.db.Error.
        """
        named = {"subject": subject, "path": path, "uid": uid}
        message = json.dumps({name: value for name, value in named.items() if value is not None})
        call, arguments = "revoke(%s, %s, %s)", [subject, path, uid]
        return _write(call, arguments, REVOCATIONS, message, REVOCATIONS, using or DEFAULT_DB_ALIAS)
