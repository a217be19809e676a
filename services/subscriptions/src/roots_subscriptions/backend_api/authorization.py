"""Admits requests to the back-end API by their key, origin and rate, and writes an audit line for each.

Browsers are refused. Every POST that a page sends carries an `Origin`, so a request with one is refused, whatever else
it has: a page that a user happens to open can't call a back-end API on that user's machine.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import falcon

from roots.auth.backends import Backend, find_by_key, find_keyless
from roots.auth.policy_watch import PolicyRefused
from roots.http.web import Problem
from roots_subscriptions.backend_api.audit import About, Audit
from roots_subscriptions.backend_api.keyless import is_loopback
from roots_subscriptions.backend_api.rate_limit import RateLimits
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.metrics import NO_BACKEND, BackendAction, Metrics

RETRY_AFTER_SECONDS = 1
_SCHEME = "bearer"
_OUTCOMES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "unknown",
    409: "conflict",
    410: "unknown",
    413: "malformed",
    422: "malformed",
    429: "limited",
    503: "unavailable",
}


@dataclass(slots=True, kw_only=True)
class BackendRequest:
    """One admitted request.

    Shape: what is added to `results`, pairs of a path and an outcome, gets audit lines; without them there is one line,
        with what `about` has for it.
    """

    backend: Backend
    results: list[tuple[str, str]] = field(default_factory=list)
    about: About = field(default_factory=About)


class BackendAuthorizer:
    """Admits the requests of back ends.

    Shape: `backends` returns those of the policy in force, which is an older one while `is_policy_refused`.
    """

    def __init__(
        self,
        backends: Callable[[], Mapping[str, Backend]],
        is_policy_refused: Callable[[], bool],
        limits: RateLimits,
        audit: Audit,
        metrics: Metrics,
    ) -> None:
        self._backends = backends
        self._is_policy_refused = is_policy_refused
        self._limits = limits
        self._audit = audit
        self._metrics = metrics

    @contextmanager
    def admit(
        self, req: falcon.Request, action: BackendAction, *, is_key_needed: bool = True
    ) -> Iterator[BackendRequest]:
        """Yield the request of the back end that sent `req`, which costs one token; write its audit lines at the end.

        Errors: Problem 403 for a browser's request, and for one without a key from another machine; 401 without a key
            that is known; 429 over the rate; 503 instead of 401 while the policy is refused.
        """
        request: BackendRequest | None = None
        outcome = "done"
        try:
            request = BackendRequest(backend=self._admit(req, is_key_needed=is_key_needed))
            self.charge(request, 1)
            yield request
        except Problem as problem:
            outcome = _OUTCOMES.get(problem.status_code, "failed")
            raise
        except BrokerUnavailableError:
            outcome = "unavailable"
            raise
        except BaseException:
            outcome = "failed"
            raise
        finally:
            name = NO_BACKEND if request is None else request.backend.name
            self._metrics.backend_api_calls.labels(name, action, outcome).inc()
            if request is not None and request.results:
                self._audit.note_each(name, action, request.results)
            else:
                about = About() if request is None else request.about
                self._audit.note(name, action, outcome, about)

    def charge(self, request: BackendRequest, tokens: int) -> None:
        """Charge the request's back end. Errors: Problem 429 when it has too few tokens left."""
        wait_seconds = self._limits.take(request.backend, tokens)
        if wait_seconds > 0:
            raise Problem(
                429, "This back end does more than its rate allows.", retry_after_seconds=math.ceil(wait_seconds)
            )

    def _admit(self, req: falcon.Request, *, is_key_needed: bool) -> Backend:
        if req.get_header("Origin") is not None:
            raise Problem(403, "This port is for back ends, which send no Origin; browsers are refused.")
        backends = self._backends()
        header = req.auth
        if header is None:
            backend = None if is_key_needed else find_keyless(backends)
            if backend is not None and not is_loopback(req.remote_addr):
                raise Problem(403, "A request without a key is taken from this machine alone.")
        else:
            scheme, _, key = header.partition(" ")
            backend = find_by_key(backends, key.strip()) if scheme.lower() == _SCHEME else None
        if backend is None and self._is_policy_refused():
            # The file that can't be used may name it.
            raise PolicyRefused
        if backend is None:
            raise Unauthorized
        return backend


class Unauthorized(Problem):
    """The request has no known key. The answer does not reveal whether it had one."""

    def __init__(self) -> None:
        super().__init__(401, "The back-end API needs the key of a back end: Authorization: Bearer KEY.")
        self.headers = {"WWW-Authenticate": "Bearer"}
