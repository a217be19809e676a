"""The composition of the REST API: routes, and how the service's errors leave it."""

from typing import Any

import falcon
from prometheus_client import CollectorRegistry

from roots.http import web
from roots.http.web import Problem
from roots.runtime import logs
from roots.tracing.tracing import OFF, Tracing
from roots_tasks.api.policy import AuthMiddleware
from roots_tasks.api.resources import TaskItem, TaskList
from roots_tasks.errors import (
    InvalidFieldError,
    KeyReusedError,
    StoreUnavailableError,
    TaskNotFoundError,
    TasksError,
    VersionMismatchError,
)
from roots_tasks.metrics import ServeMetrics
from roots_tasks.storage.store import Store

RETRY_AFTER_SECONDS = 1

log = logs.get(__name__)

App = falcon.App[falcon.Request, falcon.Response]


def create_app(
    store: Store, auth: AuthMiddleware, metrics: ServeMetrics, registry: CollectorRegistry, tracing: Tracing = OFF
) -> App:
    """Return the REST API of docs/protocol.md, Tasks."""
    app = web.create_app(middleware=[*tracing.middleware(), web.HttpMetrics("tasks", registry), auth.cors, auth])
    app.add_route("/tasks", TaskList(store, metrics))
    app.add_route("/task/{task_id}", TaskItem(store, metrics))
    app.add_error_handler(TasksError, _answer)
    return app


def _answer(_req: falcon.Request, _resp: falcon.Response, error: TasksError, _params: Any) -> None:
    raise _problem_of(error) from error


def _problem_of(error: TasksError) -> Problem:
    match error:
        case InvalidFieldError():
            return Problem(422, error.reason, field=error.field)
        case TaskNotFoundError():
            return Problem(404, "There is no such task.")
        case VersionMismatchError():
            return Problem(412, f"The task has version {error.current} now.", version=error.current)
        case KeyReusedError():
            return Problem(422, "This idempotency key was used for another request.", field="Idempotency-Key")
        case StoreUnavailableError():
            log.warning("store_unavailable", reason=error.reason)
            detail = f"The tasks can't be reached now: {error.reason}."
            return Problem(503, detail, retry_after_seconds=RETRY_AFTER_SECONDS)
    raise error
