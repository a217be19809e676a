"""The tables of the outbox. In Postgres they stay empty; without them `dumpdata` would fail there."""

import uuid

from django.db import migrations, models
from django.utils import timezone


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
        migrations.CreateModel("Event", _event_fields(), {"abstract": False}),
        migrations.CreateModel(
            "RefusedEvent",
            [
                *_event_fields(),
                ("reason", models.TextField()),
                ("refused_at", models.DateTimeField(default=timezone.now)),
            ],
            {"abstract": False},
        ),
        migrations.CreateModel(
            "Lease",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("holder", models.UUIDField()),
                ("until", models.DateTimeField()),
            ],
        ),
    )
