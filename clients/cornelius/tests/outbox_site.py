"""A Django project with an outbox, run as a process: `python outbox_site.py COMMAND`, like `manage.py COMMAND`."""

import json
import os
import signal
import sys
from typing import Any

import django
import pymysql
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import models, transaction

pymysql.install_as_MySQLdb()
settings.configure(
    CORNELIUS={"outbox": os.environ.get("SITE_OUTBOX") != "off"},
    DATABASES={"default": json.loads(os.environ["SITE_DATABASE"])},
    INSTALLED_APPS=[os.environ.get("SITE_APP", "cornelius.django")],
    USE_TZ=True,
)
django.setup()

# Once django is set up: a model needs the apps.
from cornelius.django import publish_changes  # noqa: E402


class Task(models.Model):
    """The task of the tests' project, of whose tables it uses one."""

    description: "models.CharField[str, str]" = models.CharField(max_length=200)

    class Meta:
        """The table is there."""

        app_label = "todos"
        managed = False

    def __str__(self) -> str:
        return self.description


def to_raw(task: Task) -> dict[str, Any]:
    """Return what pages receive."""
    return {"description": task.description}


publish_changes(Task, path="tasks", message=to_raw)


def write_and_die() -> None:
    """Commit some changes, and end as by `kill -9` at once; leave one more uncommitted."""
    for number in range(3):
        Task.objects.create(description=str(number))
    with transaction.atomic():
        Task.objects.all()[0].delete()
    with transaction.atomic():
        Task.objects.create(description="uncommitted")
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[1:] == ["write-and-die"]:
        write_and_die()
    else:
        execute_from_command_line(sys.argv)
