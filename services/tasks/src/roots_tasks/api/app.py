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
    app.add_error_handler(InvalidFieldError, _answer_invalid)
    app.add_error_handler(TaskNotFoundError, _answer_not_found)
    app.add_error_handler(VersionMismatchError, _answer_mismatch)
    app.add_error_handler(KeyReusedError, _answer_key_reused)
    app.add_error_handler(StoreUnavailableError, _answer_unavailable)
    return app


def _answer_invalid(_req: falcon.Request, _resp: falcon.Response, error: InvalidFieldError, _params: Any) -> None:
    raise Problem(422, error.reason, field=error.field) from error


def _answer_not_found(_req: falcon.Request, _resp: falcon.Response, error: TaskNotFoundError, _params: Any) -> None:
    raise Problem(404, "There is no such task.") from error


def _answer_mismatch(_req: falcon.Request, _resp: falcon.Response, error: VersionMismatchError, _params: Any) -> None:
    raise Problem(412, f"The task has version {error.current} now.", version=error.current) from error


def _answer_key_reused(_req: falcon.Request, _resp: falcon.Response, error: KeyReusedError, _params: Any) -> None:
    detail = "This idempotency key was used for another request."
    raise Problem(422, detail, field="Idempotency-Key") from error


def _answer_unavailable(
    _req: falcon.Request, _resp: falcon.Response, error: StoreUnavailableError, _params: Any
) -> None:
    log.warning("store_unavailable", reason=error.reason)
    detail = f"The tasks can't be reached now: {error.reason}."
    raise Problem(503, detail, retry_after_seconds=RETRY_AFTER_SECONDS) from error
