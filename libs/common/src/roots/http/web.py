"""Falcon as every Roots service uses it: msgspec for JSON, problem+json for every error, metrics by route template.

Errors leave as RFC 9457 problems whatever the client accepts: Falcon's own default would answer a browser with an
empty body. Source: docs/protocol.md.
"""

import time
from collections.abc import Sequence
from typing import Any

import falcon
import falcon.media
import msgspec
from falcon.routing import CompiledRouter
from prometheus_client import CollectorRegistry, Counter, Histogram

from roots.runtime import logs

PROBLEM_TYPE = "application/problem+json"
MAX_BODY_BYTES = 1 << 20
HTTP_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_METHODS = frozenset(falcon.HTTP_METHODS)

log = logs.get(__name__)


class Problem(falcon.HTTPError):
    """An HTTP error with a problem+json body; keyword arguments become members of it, as `field="description"`.

    Units: retry_after_seconds goes out as the Retry-After header, www_authenticate as the header of that name.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        retry_after_seconds: int | None = None,
        www_authenticate: str | None = None,
        **members: str | int | list[Any],
    ) -> None:
        headers = {}
        if retry_after_seconds is not None:
            headers["Retry-After"] = str(retry_after_seconds)
        if www_authenticate is not None:
            headers["WWW-Authenticate"] = www_authenticate
        super().__init__(falcon.code_to_http_status(status), description=detail, headers=headers)
        self.members = members


class HttpMetrics:
    """Falcon middleware: requests by method, route template and status, and the time each took."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            f"roots_{service}_http_requests_total",
            "HTTP requests answered, by method, route template and status.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            f"roots_{service}_http_request_seconds",
            "Time from the request's first byte in the application to its answer, seconds.",
            ("method", "route"),
            buckets=HTTP_BUCKETS_SECONDS,
            registry=registry,
        )

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Start the request's clock."""
        req.context.started = time.perf_counter()

    def process_response(self, req: falcon.Request, resp: falcon.Response, _resource: object, _ok: bool) -> None:  # noqa: FBT001  # Falcon calls it so
        """Count the request; its path stays out, since it may hold a uid."""
        method = req.method if req.method in _METHODS else "other"
        route = req.uri_template or "unmatched"
        seconds = time.perf_counter() - req.context.started
        self._requests.labels(method, route, str(resp.status_code)).inc()
        self._seconds.labels(method, route).observe(seconds)
        log.debug("request", method=method, route=route, status=resp.status_code, seconds=round(seconds, 6))


class _Router(CompiledRouter):
    """Falcon's router, with HEAD wherever there is GET: RFC 9110, 9.1. Falcon leaves the body out."""

    def map_http_methods(self, resource: object, **options: Any) -> Any:
        methods = super().map_http_methods(resource, **options)
        return {"HEAD": methods["GET"], **methods} if "GET" in methods else methods


def create_app(*, middleware: Sequence[Any] = ()) -> falcon.App[falcon.Request, falcon.Response]:
    """Return a Falcon application without routes; each route that has GET has HEAD, too."""
    app = falcon.App(middleware=list(middleware), router=_Router())
    json_handler = falcon.media.JSONHandler(dumps=_dumps, loads=msgspec.json.decode)
    for options in (app.req_options, app.resp_options):
        # A body is JSON here whatever its type says: the clients of 2009 name none, or one of their own.
        options.media_handlers.update({falcon.MEDIA_JSON: json_handler})
    app.req_options.strip_url_path_trailing_slash = True
    app.set_error_serializer(_write_problem)
    app.add_error_handler(Exception, _answer_unexpected)
    return app


def read_json(req: falcon.Request, type_: Any = Any, *, max_bytes: int = MAX_BODY_BYTES) -> Any:
    """Return the request's body as `type_`, whatever content type it came with.

    Errors: Problem 400 when it is not JSON, 413 over `max_bytes`, 422 with the field named for another shape.
    """
    if (req.content_length or 0) > max_bytes:
        raise Problem(413, f"The body has more than {max_bytes} bytes.", field="body")
    body = req.bounded_stream.read()
    try:
        # As any JSON first: a decoder that expects a shape complains of that before it has seen that this is no JSON.
        value = msgspec.json.decode(body)
        return value if type_ is Any else msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        detail, _, place = str(error).partition(" - at `")
        field = place.rstrip("`").removeprefix("$").lstrip(".") or "body"
        raise Problem(422, detail, field=field) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "The body is not JSON.", field="body") from error


def _dumps(media: object) -> str:
    return msgspec.json.encode(media).decode()


def _write_problem(_req: falcon.Request, resp: falcon.Response, error: falcon.HTTPError) -> None:
    status = falcon.http_status_to_code(error.status)
    title = falcon.code_to_http_status(status).partition(" ")[2]
    problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    if error.description:
        problem["detail"] = error.description
    if isinstance(error, Problem):
        problem.update(error.members)
    resp.content_type = PROBLEM_TYPE
    resp.data = msgspec.json.encode(problem)


def _answer_unexpected(_req: falcon.Request, _resp: falcon.Response, error: Exception, _params: dict[str, Any]) -> None:
    if isinstance(error, (falcon.HTTPError, falcon.HTTPStatus)):
        raise error
    log.error("request_failed", exc_info=error)
    raise Problem(500, "The service failed; its log has the reason.") from error
