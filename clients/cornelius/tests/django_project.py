"""A Django project, set up when this is imported, for the tests of `cornelius.django`."""

from typing import Any

import django
from django.apps import AppConfig, apps
from django.conf import settings
from django.db import connections, models
from django.urls import URLPattern

IN_MEMORY = ("default", "other")
"""The databases that are always there."""

urlpatterns: list[URLPattern] = []
"""A test puts its views here."""


class Todos(AppConfig):
    """The app that this module is."""

    name = __name__
    label = "todos"


settings.configure(
    ALLOWED_HOSTS=["testserver"],
    CSRF_TRUSTED_ORIGINS=["https://trusted.example", "https://*.example.com", "http://*.example.org:8000"],
    DATABASES={name: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for name in IN_MEMORY},
    INSTALLED_APPS=["cornelius", f"{__name__}.Todos"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
django.setup()


class Described(models.Model):
    """An abstract base."""

    description: "models.CharField[str, str]" = models.CharField(max_length=200)

    class Meta:
        """It has no table."""

        abstract = True
        app_label = "todos"

    def __str__(self) -> str:
        return self.description


class Tag(Described):
    """What a task may have several of."""

    class Meta(Described.Meta):
        """A table of its own."""

        abstract = False


class VisibleManager(models.Manager[models.Model]):
    """Leaves rows out, as after a soft deletion."""

    def get_queryset(self) -> "models.QuerySet[models.Model]":
        """Return the others."""
        return super().get_queryset().exclude(description="hidden")


class Task(Described):
    """What the tutorial has, and relations."""

    objects: "models.Manager[Any]" = VisibleManager()
    tags: "models.ManyToManyField[Tag, Any]" = models.ManyToManyField(Tag)
    needs: "models.ManyToManyField[Task, Any]" = models.ManyToManyField("self", symmetrical=False)

    class Meta(Described.Meta):
        """A table of its own."""

        abstract = False


class UrgentTask(Task):
    """A proxy, with a method of its own."""

    class Meta(Described.Meta):
        """The table is that of Task."""

        abstract = False
        proxy = True

    def shout(self) -> str:
        """Return what only the proxy can say."""
        return self.description.upper()


class Chore(Task):
    """A child of multi-table inheritance."""

    room: "models.CharField[str, str]" = models.CharField(max_length=200)

    class Meta(Described.Meta):
        """A second table beside that of Task."""

        abstract = False


MODELS: list[type[models.Model]] = [Tag, Task, Chore, *apps.get_app_config("cornelius").get_models()]


def create_tables() -> None:
    """Make empty databases."""
    for name in IN_MEMORY:
        connection = connections[name]
        # SQLite changes tables only while it checks no foreign keys.
        connection.disable_constraint_checking()
        with connection.schema_editor() as editor:
            if Task._meta.db_table in connection.introspection.table_names():
                for model in reversed(MODELS):
                    editor.delete_model(model)
            for model in MODELS:
                editor.create_model(model)
        connection.enable_constraint_checking()
