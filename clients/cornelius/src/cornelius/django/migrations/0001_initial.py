"""The tables of the outbox, where there is no schema `roots` for it."""

import uuid
from typing import Any

from django.db import connections, migrations, models
from django.utils import timezone


class CreateElsewhere(migrations.CreateModel):
    """Creates the model's table except in Postgres."""

    def allow_migrate_model(self, connection_alias: Any, model: type[models.Model]) -> bool:
        """Return whether the database gets the table."""
        is_postgres = connections[connection_alias].vendor == "postgresql"
        return not is_postgres and super().allow_migrate_model(connection_alias, model)


def _event_fields() -> list[tuple[str, "models.Field[object, object]"]]:
    return [
        ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
        ("event_id", models.UUIDField(default=uuid.uuid4)),
        ("path", models.TextField()),
        ("ordering_key", models.TextField()),
        ("message", models.TextField()),
        ("committed_at", models.DateTimeField(default=timezone.now)),
    ]


class Migration(migrations.Migration):
    """Three tables."""

    initial = True
    operations = (
        CreateElsewhere("Event", _event_fields(), {"abstract": False}),
        CreateElsewhere(
            "RefusedEvent",
            [
                *_event_fields(),
                ("reason", models.TextField()),
                ("refused_at", models.DateTimeField(default=timezone.now)),
            ],
            {"abstract": False},
        ),
        CreateElsewhere(
            "Lease",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("holder", models.UUIDField()),
                ("until", models.DateTimeField()),
            ],
        ),
    )
