"""The tutorial's task, and the line that publishes its changes to every page."""

from typing import Any

from django.db import models

from cornelius.django import publish_changes

PATH = "django/tasks"
"""What pages listen to. (The page of `make run` itself has `tasks`.)"""


class Task(models.Model):
    """Something to do. Shape: version is one higher after each change, so that pages know which news is the latest."""

    description = models.CharField(max_length=2000)
    is_done = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=1)

    def __str__(self) -> str:
        return self.description


def task_to_raw(task: Task) -> dict[str, Any]:
    """Return what pages receive of a task: the tutorial's members, and the version."""
    return {
        "guid": f"/task/{task.pk}",
        "description": task.description,
        "isDone": task.is_done,
        "version": task.version,
    }


publish_changes(Task, path=PATH, message=task_to_raw)
