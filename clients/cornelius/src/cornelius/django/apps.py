"""Gives the back-end API the project's settings when Django starts. Nothing connects."""

import importlib
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.db.models.signals import post_migrate

from cornelius import ConfigurationError, dudley
from cornelius.django import outbox


class CorneliusConfig(AppConfig):
    """The app. Its tables are those of the outbox."""

    name = "cornelius.django"
    label = "cornelius"
    verbose_name = "Cornelius"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Configure `dudley` by the setting CORNELIUS: its arguments, by their names, and whether there is an outbox.

        Errors: ImproperlyConfigured when they are none.
        """
        try:
            given = {**getattr(settings, "CORNELIUS", {})}
            has_outbox = given.pop(outbox.SETTING, False)
            if not isinstance(has_outbox, bool):
                raise ConfigurationError(f"outbox is True or False, not {has_outbox!r}")  # noqa: TRY301  # as the rest
            dudley.configure(**given)
        except (TypeError, ConfigurationError) as error:
            raise ImproperlyConfigured(
                f"CORNELIUS has the arguments of dudley.configure, and outbox: {error}"
            ) from error
        dudley.outbox = outbox.DjangoOutboxWriter() if has_outbox else None
        post_migrate.connect(self._install_schema, sender=self)

    def _install_schema(self, *, using: str, **_signal: Any) -> None:
        """Receive Django's `post_migrate`: create the schema `roots` in a Postgres, or bring it up to date."""
        is_postgres = connections[using].vendor == outbox.POSTGRES
        if not (outbox.is_on() and is_postgres and router.allow_migrate_model(using, self.get_model("Event"))):
            return
        try:
            schema = importlib.import_module("roots_outbox.application.schema")
        except ModuleNotFoundError as error:
            raise ImproperlyConfigured(f"the outbox lacks {error.name}; install cornelius[django,outbox]") from error
        connections[using].ensure_connection()
        schema.install(connections[using].connection)
