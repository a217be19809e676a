"""A Django project of one model, set up when this is imported, for the tests of `cornelius.django`."""

import tempfile

import django
from django.conf import settings
from django.db import connection, models
from django.urls import URLPattern

urlpatterns: list[URLPattern] = []
"""A test puts its views here."""

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    CSRF_TRUSTED_ORIGINS=["https://trusted.example"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": tempfile.mkdtemp() + "/db.sqlite3"}},
    INSTALLED_APPS=["cornelius"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
django.setup()


class Task(models.Model):
    """What the tutorial has."""

    description: "models.CharField[str, str]" = models.CharField(max_length=200)

    class Meta:
        """Which app it would be of."""

        app_label = "todos"

    def __str__(self) -> str:
        return self.description


def create_tables() -> None:
    """Make an empty database."""
    with connection.schema_editor() as editor:
        if Task._meta.db_table in connection.introspection.table_names():
            editor.delete_model(Task)
        editor.create_model(Task)
