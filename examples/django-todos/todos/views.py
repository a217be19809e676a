"""The tutorial's views: the tasks as JSON, and what a page may receive."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_GET, require_http_methods

from cornelius.django import connecting, subject_of
from todos.models import PATH, Task, task_to_raw


@require_GET
@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    """Answer the page."""
    return render(request, "todos/index.html", {"path": PATH, "user": subject_of(request)})


@require_http_methods(["GET", "POST"])
def tasks(request: HttpRequest) -> HttpResponse:
    """List the tasks, or add one."""
    if request.method == "GET":
        return JsonResponse({"content": [task_to_raw(task) for task in Task.objects.order_by("pk")]})
    try:
        task = change(Task(), request.body)
    except (ValueError, ValidationError) as error:
        return refuse(error)
    return JsonResponse({"content": task_to_raw(task)}, status=201, headers={"Location": f"/task/{task.pk}"})


@require_http_methods(["GET", "PUT", "DELETE"])
@transaction.atomic
def task(request: HttpRequest, task_id: int) -> HttpResponse:
    """Answer, change or delete one task. It is not published before it is committed."""
    found = get_object_or_404(Task.objects.select_for_update(), pk=task_id)
    if request.method == "DELETE":
        found.delete()
        return HttpResponse(status=204)
    if request.method == "PUT":
        found.version += 1
        try:
            change(found, request.body)
        except (ValueError, ValidationError) as error:
            return refuse(error)
    return JsonResponse({"content": task_to_raw(found)})


@connecting
def connect(request: HttpRequest, _uid: str, paths: list[str]) -> list[str]:
    """Return those of `paths` that this client may receive. We can't trust the client.

    Everyone may receive the tasks here. A signed-in user may receive a path of their own, too.
    """
    may_hear = {PATH}
    if request.user.is_authenticated:
        may_hear.add(f"django/users/{request.user.pk}")
    return [path for path in paths if path in may_hear]


def change(task: Task, body: bytes) -> Task:
    """Give `task` the members of `body`, and save it. Errors: ValueError, ValidationError when they are none."""
    members: Any = json.loads(body)
    if not isinstance(members, dict):
        raise ValidationError("A task is an object.")
    task.description = str(members.get("description", task.description)).strip()
    task.is_done = members.get("isDone", task.is_done)
    task.full_clean()
    task.save()
    return task


def refuse(error: Exception) -> JsonResponse:
    """Return the answer to a body that is no task."""
    detail = "; ".join(error.messages) if isinstance(error, ValidationError) else "The body is not JSON."
    return JsonResponse({"title": "Not a task", "status": 422, "detail": detail}, status=422)
