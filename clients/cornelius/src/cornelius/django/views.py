"""The views that a page, through Pomona, asks for paths.

A uid belongs to who is logged in when it is connected first, and is refused to anyone else: two people may use one
browser, one after the other. Source: docs/protocol.md, Connecting.
"""

import json
import math
from collections.abc import Callable, Iterable
from functools import wraps
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.http import is_same_domain
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from cornelius import (
    InvalidError,
    OtherSubjectError,
    TooManyPathsError,
    UnavailableError,
    UnknownUidError,
    dudley,
)
from cornelius.backend_api import MAX_PATHS

RETRY_AFTER_SECONDS = 1
NOBODY = "::nobody"
"""The subject of those who are not logged in."""

SubjectOf = Callable[[HttpRequest], str | None]
Choice = Callable[[HttpRequest, str, list[str]], Iterable[str]]
View = Callable[..., HttpResponseBase]


class _RefusedRequestError(Exception):
    """Ends a view with a problem."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def subject_of(request: HttpRequest) -> str | None:
    """Return who is logged in, as Roots names them: the user's primary key. None in a project without logins."""
    user = getattr(request, "user", None)
    if user is None:
        return None
    return str(user.pk) if user.is_authenticated else NOBODY


def connecting(choose: Choice, subject: SubjectOf = subject_of) -> View:
    """Make a view of `choose(request, uid, paths)`, which returns those of the paths that this client may receive.

        @connecting
        def connect(request, uid, paths):
            return [path for path in paths if path == "tasks"]

        path("tasks/connect/<str:uid>", connect)

    The client is connected to these, and the answer names the refused ones. A browser sent `paths`: do not trust them.
    `choose` is called again when `dudley.revoke` came between. The uid belongs to what `subject(request)` returns.
    """

    @wraps(choose)
    def view(request: HttpRequest, uid: str, paths: list[str]) -> JsonResponse:
        allowed: list[str] = []
        left_out: list[str] = []

        def decide() -> list[str]:
            chosen = set(choose(request, uid, paths))
            allowed[:] = [path for path in paths if path in chosen]
            return allowed

        try:
            dudley.connect_decided(uid, decide, subject(request))
        except TooManyPathsError as error:
            left_out = error.paths
        connected = [path for path in allowed if path not in left_out]
        refused = [{"path": path, "reason": "policy"} for path in paths if path not in allowed]
        refused += [{"path": path, "reason": "limit"} for path in left_out]
        if connected:
            return JsonResponse({"connected": connected, "refused": refused})
        if left_out:
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "This client has no room for more paths.", refused=refused)
        return _problem(HTTPStatus.FORBIDDEN, "This client may receive none of these paths.", refused=refused)

    return _asked_by_page(view)


def _disconnect(_request: HttpRequest, uid: str, paths: list[str]) -> JsonResponse:
    dudley.disconnect(uid, paths)
    return JsonResponse({"disconnected": paths})


def _asked_by_page(view: Callable[[HttpRequest, str, list[str]], JsonResponse]) -> View:
    """Return `view` for what Pomona sends: its paths read, its origin checked, the back-end API's errors answered."""

    # In a transaction that began before the revision was read, `choose` would not see what was revoked since.
    @transaction.non_atomic_requests
    @csrf_exempt  # Pomona sends no token; `_check_origin` does what that would do
    @require_POST
    @wraps(view)
    def asked(request: HttpRequest, uid: str) -> JsonResponse:
        try:
            _check_origin(request)
            return view(request, uid, _read_paths(request.body))
        except _RefusedRequestError as refusal:
            return _problem(refusal.status, refusal.detail)
        except UnknownUidError as error:
            return _problem(HTTPStatus.GONE, error.detail)
        except OtherSubjectError as error:
            return _problem(HTTPStatus.FORBIDDEN, error.detail, reason="identity")
        except InvalidError as error:
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.detail)
        except UnavailableError as error:
            problem = _problem(HTTPStatus.SERVICE_UNAVAILABLE, "The paths can't be changed now; try again.")
            problem["Retry-After"] = str(max(RETRY_AFTER_SECONDS, math.ceil(error.retry_after_seconds)))
            return problem

    return asked


disconnect = _asked_by_page(_disconnect)
"""The view that takes paths back, which a page may always do: `path("tasks/disconnect/<str:uid>", disconnect)`."""


def _check_origin(request: HttpRequest) -> None:
    """Refuse what another site's page sent: it would connect its own uid by the rights of whoever looks at it."""
    origin = request.headers.get("Origin")
    if origin is not None and _is_trusted(origin):
        return
    # Browsers send it over secure connections. Over others the origin's host is compared.
    site = request.headers.get("Sec-Fetch-Site")
    is_own = site == "same-origin" if site else origin is None or origin.partition("://")[2] == request.get_host()
    if not is_own:
        raise _RefusedRequestError(HTTPStatus.FORBIDDEN, "Another site's page may not ask this.")


def _is_trusted(origin: str) -> bool:
    """Return whether CSRF_TRUSTED_ORIGINS has `origin`, as Django reads that setting: with `*.` for subdomains."""
    trusted = CsrfViewMiddleware(lambda _request: HttpResponse())
    if origin in trusted.allowed_origins_exact:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return any(is_same_domain(parts.netloc, host) for host in trusted.allowed_origin_subdomains.get(parts.scheme, ()))


def _read_paths(body: bytes) -> list[str]:
    """Return the paths of the body, each once. Errors: _RefusedRequestError."""
    try:
        paths: Any = json.loads(body)
    except ValueError as error:
        raise _RefusedRequestError(HTTPStatus.BAD_REQUEST, "The body is not JSON.") from error
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise _RefusedRequestError(HTTPStatus.UNPROCESSABLE_ENTITY, "The body is an array of paths.")
    if not 1 <= len(set(paths)) <= MAX_PATHS:
        raise _RefusedRequestError(HTTPStatus.UNPROCESSABLE_ENTITY, f"The array has 1 to {MAX_PATHS} different paths.")
    return list(dict.fromkeys(paths))


def _problem(status: HTTPStatus, detail: str, **members: Any) -> JsonResponse:
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail, **members}
    return JsonResponse(problem, status=status, content_type="application/problem+json")
