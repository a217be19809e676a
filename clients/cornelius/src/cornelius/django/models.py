"""The outbox of a database that is not Postgres, which uses the schema `roots` instead. Source: docs/outbox.md."""

import datetime as dt
import uuid

from django.db import models
from django.utils import timezone


class Waiting(models.Model):
    """What an event consists of."""

    event_id: "models.UUIDField[uuid.UUID, uuid.UUID]" = models.UUIDField(default=uuid.uuid4)
    path: "models.TextField[str, str]" = models.TextField()
    ordering_key: "models.TextField[str, str]" = models.TextField()
    message: "models.TextField[str, str]" = models.TextField()
    committed_at: "models.DateTimeField[dt.datetime, dt.datetime]" = models.DateTimeField(default=timezone.now)

    class Meta:
        """It has no table."""

        abstract = True
        app_label = "cornelius"

    def __str__(self) -> str:
        return f"{self.event_id} on {self.path}"


class Event(Waiting):
    """An event that the relay has not published yet. Events are published in the order of their ids."""

    class Meta(Waiting.Meta):
        """A table of its own."""

        abstract = False


class RefusedEvent(Waiting):
    """An event that Roots has refused for good."""

    reason: "models.TextField[str, str]" = models.TextField()
    refused_at: "models.DateTimeField[dt.datetime, dt.datetime]" = models.DateTimeField(default=timezone.now)

    class Meta(Waiting.Meta):
        """A table of its own."""

        abstract = False


class Lease(models.Model):
    """Which relay publishes, and until when it may; there is one row."""

    holder: "models.UUIDField[uuid.UUID, uuid.UUID]" = models.UUIDField()
    until: "models.DateTimeField[dt.datetime, dt.datetime]" = models.DateTimeField()

    class Meta:
        """The label is that of the app under both its names."""

        app_label = "cornelius"

    def __str__(self) -> str:
        return f"{self.holder} until {self.until}"
