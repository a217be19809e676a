"""Requests to one address of Roots, sent again for as long as the failure is one that passes.

Owns the pooled connections: of this process alone, since a forked child makes its own. A request that ends without an
answer, or with a status that means "later", is repeated after a random wait that doubles its range each time, no sooner
than `Retry-After` says. So every request must be one that is safe to repeat. May be used by many threads at once.
"""

import json
import math
import os
import random
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    EmptyPoolError,
    HTTPError,
    InvalidHeader,
    NewConnectionError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as ReadTimeoutError

from cornelius.errors import AnswerError, ConfigurationError, DeadlineError

MAX_CONNECTIONS = 32
CONNECT_TIMEOUT_SECONDS = 5.0
# A poll is held for 25 s; the gateway and the network take some more time.
POLL_TIMEOUT_SECONDS = 45.0
FIRST_BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 30.0
# No server may silence a client for longer than this; Pomona has the same bound.
MAX_RETRY_AFTER_SECONDS = 300.0
NO_DEADLINE = math.inf
_FIRST_SERVER_ERROR = 500
_PASSING = frozenset({408, 425, 429})
_JSON = {"Accept": "application/json", "Content-Type": "application/json"}


class Answer(NamedTuple):
    """An answer that stands."""

    status: int
    content: bytes

    def json(self) -> Any:
        """Return the decoded body. Errors: AnswerError when it is not JSON."""
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise AnswerError(self.status, "the answer is not JSON; is this the address of Roots?") from error


def passing_reason(answer: Answer) -> str | None:
    """Return why the same request may be answered otherwise later; None when the answer stands."""
    is_passing = answer.status in _PASSING or answer.status >= _FIRST_SERVER_ERROR
    return f"HTTP {answer.status}" if is_passing else None


class Backoff:
    """How long to wait before the next try: full jitter, so that many clients do not come back together."""

    def __init__(self) -> None:
        self._range_seconds = FIRST_BACKOFF_SECONDS

    def next_seconds(self, retry_after_seconds: float = 0.0) -> float:
        """Return the next wait, at least `retry_after_seconds`."""
        seconds = retry_after_seconds + random.uniform(0, self._range_seconds)  # noqa: S311  # spreads load, no secret
        self._range_seconds = min(self._range_seconds * 2, MAX_BACKOFF_SECONDS)
        return seconds


class Transport:
    """One Roots, by its URL; `headers` go with every request.

    Shape: passing_reason says why an answer is worth another try, or None; on_wait is called before each wait for
        another try, with the reason.
    Units: try_seconds is how long one try may wait for its answer.
    Errors: ConfigurationError when `url` is no http or https URL.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        try_seconds: float = POLL_TIMEOUT_SECONDS,
        passing_reason: Callable[[Answer], str | None] = passing_reason,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._url = check_url(url).rstrip("/")
        self._headers = {**_JSON, **(headers or {})}
        self._try_seconds = try_seconds
        self._passing_reason = passing_reason
        self._on_wait = on_wait
        self._pool = _new_pool()
        self._pid = os.getpid()

    def close(self) -> None:
        """Close the connections."""
        self._own_pool().clear()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        deadline: float = NO_DEADLINE,
        is_single: bool = False,
        headers: Mapping[str, str] | None = None,
        passing_reason: Callable[[Answer], str | None] | None = None,
    ) -> Answer:
        """Send a request with a JSON body, or none, until it is answered for good; a single one, once.

        Shape: passing_reason is the Transport's, unless it is given; headers go beside those of every request.
        Units: deadline is a time of `time.monotonic`.
        Errors: DeadlineError, at once when the next try would come too late; ConfigurationError when the server's
            certificate is not trusted.
        """
        find_reason = passing_reason or self._passing_reason
        backoff = Backoff()
        while True:
            started = time.monotonic()
            remaining_seconds = deadline - started
            if remaining_seconds <= 0:
                raise DeadlineError("there was no time for one")
            retry_after_seconds = 0.0
            has_reached = True
            try:
                response = self._send(method, path, body, headers or {}, remaining_seconds)
            except HTTPError as error:
                # Not answered: refused, reset, cut off or too late.
                reason = _reason(error)
                has_reached = not isinstance(error, EmptyPoolError)
            else:
                answer = Answer(response.status, response.data)
                passing = find_reason(answer)
                if passing is None:
                    return answer
                reason = passing
                retry_after_seconds = _retry_after_seconds(response)
            ended = time.monotonic()
            wait_seconds = backoff.next_seconds(retry_after_seconds)
            if is_single or wait_seconds >= deadline - ended:
                try_seconds = ended - started if has_reached else None
                raise DeadlineError(reason, retry_after_seconds=retry_after_seconds, try_seconds=try_seconds)
            if self._on_wait is not None:
                self._on_wait(reason)
            time.sleep(wait_seconds)

    def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], remaining_seconds: float
    ) -> urllib3.BaseHTTPResponse:
        return self._own_pool().request(
            method,
            f"{self._url}{path}",
            body=body,
            headers={**self._headers, **headers},
            pool_timeout=min(self._try_seconds, remaining_seconds),
            timeout=urllib3.Timeout(
                connect=min(CONNECT_TIMEOUT_SECONDS, self._try_seconds, remaining_seconds),
                read=min(self._try_seconds, remaining_seconds),
            ),
        )

    def _own_pool(self) -> urllib3.PoolManager:
        """Return the pool of this process: on a connection of its parent's, two would talk at once (urllib3#850)."""
        if self._pid != os.getpid():
            # In this order, so that no other thread of the child takes the old pool for its own.
            self._pool = _new_pool()
            self._pid = os.getpid()
        return self._pool


def check_url(url: str) -> str:
    """Return `url` when it is one of http or https. Errors: ConfigurationError."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise ConfigurationError(f"{url!r} is no http or https URL")
    return url


def _new_pool() -> urllib3.PoolManager:
    # `block`: past the bound a thread waits for a connection, for no longer than a try may take.
    return urllib3.PoolManager(retries=False, maxsize=MAX_CONNECTIONS, block=True)


def _retry_after_seconds(response: urllib3.BaseHTTPResponse) -> float:
    try:
        return min(urllib3.Retry().get_retry_after(response) or 0.0, MAX_RETRY_AFTER_SECONDS)
    except (InvalidHeader, OverflowError, ValueError):
        return 0.0


def _reason(error: HTTPError) -> str:
    """Return what happened without the request's URL, which may hold a uid. Errors: ConfigurationError."""
    if isinstance(error, SSLError) and any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
        raise ConfigurationError(
            f"the server's certificate is not trusted ({error.args[0].verify_message}); SSL_CERT_FILE names"
            " the certificates that are"
        ) from error
    if isinstance(error, EmptyPoolError):
        return f"all {MAX_CONNECTIONS} connections were in use"
    if isinstance(error, NewConnectionError | ConnectTimeoutError):
        return "no connection"
    if isinstance(error, ReadTimeoutError):
        return "no answer in time"
    return "the connection was lost before the answer"
