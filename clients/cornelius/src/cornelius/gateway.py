"""Requests to the gateway of Roots, sent again for as long as the failure is one that passes.

Owns the pooled connections. A request that ends without an answer, or with a status that means "later", is repeated
after a random wait that doubles its range each time, no sooner than `Retry-After` says.
"""

import json
import random
import time
from typing import Any, NamedTuple

import urllib3

from cornelius.errors import AnswerError, DeadlineError

CONNECT_TIMEOUT_SECONDS = 5.0
# A poll is held for 25 s; whatever lies between may take its time too.
READ_TIMEOUT_SECONDS = 25.0 + 20.0
FIRST_BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 30.0
_FIRST_SERVER_ERROR = 500
_TOO_MANY_REQUESTS = 429


class Answer(NamedTuple):
    """An answer that stands. Shape: body is the decoded JSON."""

    status: int
    body: Any


class Backoff:
    """How long to wait before the next try: full jitter, so that many clients do not come back together."""

    def __init__(self) -> None:
        self._range_seconds = FIRST_BACKOFF_SECONDS

    def next_seconds(self, retry_after_seconds: float = 0.0) -> float:
        """Return the next wait, at least `retry_after_seconds`."""
        seconds = retry_after_seconds + random.uniform(0, self._range_seconds)  # noqa: S311  # spreads load, no secret
        self._range_seconds = min(self._range_seconds * 2, MAX_BACKOFF_SECONDS)
        return seconds


class Gateway:
    """One Roots, by its URL.

    Units: deadline is a time of `time.monotonic`, None for no end.
    """

    def __init__(self, url: str, *, deadline: float | None = None) -> None:
        self._url = url.rstrip("/")
        self._deadline = deadline
        self._pool = urllib3.PoolManager(retries=False)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def request(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a request with a JSON body, or none, until it is answered for good.

        Errors: DeadlineError; AnswerError when the answer is not JSON.
        """
        backoff = Backoff()
        while True:
            retry_after_seconds = 0.0
            try:
                response = self._send(method, path, body)
            except urllib3.exceptions.HTTPError:
                # Not answered: refused, reset, cut off or too late. The same request is safe to repeat.
                pass
            else:
                if not _is_passing(response.status):
                    return Answer(response.status, _decode(response))
                retry_after_seconds = urllib3.Retry().get_retry_after(response) or 0.0
            self.wait(backoff.next_seconds(retry_after_seconds))

    def wait(self, seconds: float) -> None:
        """Wait. Errors: DeadlineError, after what is left of the time, when that is less."""
        time.sleep(min(seconds, self._remaining_seconds()))

    def _send(self, method: str, path: str, body: Any) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method,
            f"{self._url}{path}",
            body=None if body is None else json.dumps(body).encode(),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
            timeout=urllib3.Timeout(
                connect=min(CONNECT_TIMEOUT_SECONDS, self._remaining_seconds()),
                read=min(READ_TIMEOUT_SECONDS, self._remaining_seconds()),
            ),
        )

    def _remaining_seconds(self) -> float:
        if self._deadline is None:
            return READ_TIMEOUT_SECONDS + MAX_BACKOFF_SECONDS
        remaining_seconds = self._deadline - time.monotonic()
        if remaining_seconds <= 0:
            raise DeadlineError("the time is over")
        return remaining_seconds


def _is_passing(status: int) -> bool:
    return status == _TOO_MANY_REQUESTS or status >= _FIRST_SERVER_ERROR


def _decode(response: urllib3.BaseHTTPResponse) -> Any:
    try:
        return json.loads(response.data)
    except ValueError as error:
        raise AnswerError(response.status, "the answer is not JSON; is this the address of Roots?") from error
