"""A Django project for each test, and one with an outbox, in each kind of database."""

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from tests.testkit.background import LoopThread

from cornelius import dudley
from cornelius.django import outbox

from .databases import KINDS, Lacking, started
from .django_project import MODELS, Chore, Tag, Task
from .django_support import fresh_project, publishing
from .support import Log


@pytest.fixture
def project() -> Iterator[None]:
    """Give each test a project of its own."""
    with fresh_project():
        yield


@pytest.fixture(scope="session", params=KINDS)
def migrated(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    background: LoopThread,
    lacking: Lacking,
) -> Iterator[str]:
    """Yield the alias of another database of the project, after `manage.py migrate`."""
    kind: str = request.param
    with started(kind, tmp_path_factory.mktemp(kind), background, lacking) as options:
        connections.settings[kind] = connections.configure_settings({"default": {}, kind: options})[kind]
        with override_settings(CORNELIUS={"outbox": True}):
            call_command("migrate", "cornelius", database=kind, verbosity=0)
        with connections[kind].schema_editor() as editor:
            for model in (Tag, Task, Chore):
                editor.create_model(model)
        yield kind
        connections[kind].close()
        del connections[kind], connections.settings[kind]


@pytest.fixture
def using(migrated: str) -> Iterator[str]:
    """Yield the alias of a database whose tables are empty; the project has an outbox."""
    with fresh_project(), override_settings(CORNELIUS={"outbox": True}):
        dudley.outbox = outbox.DjangoOutboxWriter()
        connection = connections[migrated]
        with connection.cursor() as cursor:
            if connection.vendor == outbox.POSTGRES:
                cursor.execute("DELETE FROM roots.outbox")
                cursor.execute("DELETE FROM roots.refused")
        for model in reversed(MODELS):
            model._base_manager.using(migrated).all().delete()
        yield migrated
        dudley.outbox = None


@pytest.fixture
def log() -> Iterator[Log]:
    """Yield what `dudley` publishes."""
    with publishing() as stored:
        yield stored
