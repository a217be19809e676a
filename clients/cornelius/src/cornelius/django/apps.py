"""Gives the back-end API the project's settings when Django starts. Nothing connects."""

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from cornelius import ConfigurationError, dudley


class CorneliusConfig(AppConfig):
    """The app. It has no models, and so no migrations."""

    name = "cornelius.django"
    label = "cornelius"
    verbose_name = "Cornelius"

    def ready(self) -> None:
        """Configure `dudley` by the setting CORNELIUS: its arguments, by their names.

        Errors: ImproperlyConfigured when they are none.
        """
        given = getattr(settings, "CORNELIUS", {})
        try:
            dudley.configure(**given)
        except (TypeError, ConfigurationError) as error:
            raise ImproperlyConfigured(f"CORNELIUS has the arguments of dudley.configure: {error}") from error
