"""A client that listens to paths, as a browser does: it begins, connects its paths, and polls.

Each poll acknowledges what the one before brought, so an update comes at least once; it may come again after a lost
answer. Source: docs/protocol.md, Delivery and Connecting.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from cornelius.errors import AnswerError, DeadlineError, RefusedError, answer_error
from cornelius.transport import NO_DEADLINE, Answer, Transport

DISCONNECT_PATH = "::+::disconnect"
# A uid that is refused as soon as it is issued comes from another Roots; asking for more of them won't help.
MAX_BEGINNINGS = 3
_OK = 200
_FORBIDDEN = 403
_GONE = 410


@dataclass(frozen=True, slots=True)
class Update:
    """One message on one path."""

    path: str
    message: str

    @property
    def is_confirmation(self) -> bool:
        """Whether this only says that the path is connected."""
        return not self.message

    @property
    def is_withdrawal(self) -> bool:
        """Whether this says that the path `message` is connected no longer."""
        return self.path == DISCONNECT_PATH


@dataclass(frozen=True, slots=True)
class Gap:
    """Updates of a path that can't be delivered any more; read its present state anew."""

    path: str
    reason: str


def ignore_gap(_gap: Gap) -> None:
    """Do nothing about a gap."""


def ignore_reset() -> None:
    """Do nothing about a reset."""


class Listener:
    """Listens to `paths` of the application `app`; iterating gives each Update as it comes, for ever.

        with Listener("http://localhost:4020", ["tasks"]) as listener:
            for update in listener:
                ...

    Confirmations and withdrawals are updates too. `on_gap` hears of lost updates; `on_reset` is called when Roots has
    forgotten this client (it was away for too long), after its paths are connected again: what happened in between is
    lost. Failures that pass are waited out.

    Units: timeout_seconds is how long all of it may take, None for no end; the iteration then ends.
    Errors: RefusedError, AnswerError, from the iteration and from `connect`.
    """

    def __init__(
        self,
        url: str,
        paths: Iterable[str],
        *,
        app: str = "tasks",
        timeout_seconds: float | None = None,
        on_gap: Callable[[Gap], None] = ignore_gap,
        on_reset: Callable[[], None] = ignore_reset,
    ) -> None:
        self._deadline = NO_DEADLINE if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._transport = Transport(url)
        self._app = app
        # A dict keeps the order, and each path once.
        self._paths = dict.fromkeys(paths)
        self._on_gap = on_gap
        self._on_reset = on_reset
        self._position = ""
        self._undelivered: deque[Update] = deque()
        self._retry_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Update]:
        try:
            if not self._position:
                self._begin()
            while True:
                # Kept aside, so that a caller who stops in the middle finds the rest when it iterates again.
                while self._undelivered:
                    yield self._undelivered.popleft()
                self._wait(self._retry_seconds)
                self._poll()
        except DeadlineError:
            # A try that would come too late is not waited for; the time is the caller's to count on all the same.
            self._wait(NO_DEADLINE)

    @property
    def uid(self) -> str:
        """The name that Roots has given to this client; empty before the first poll."""
        return self._position.partition("/")[0]

    def connect(self, *paths: str) -> None:
        """Listen to `paths` too."""
        self._paths.update(dict.fromkeys(paths))
        if self._position:
            self._connect_paths(list(paths))

    def disconnect(self, *paths: str) -> None:
        """Listen to `paths` no more; a withdrawal of each follows."""
        for path in paths:
            self._paths.pop(path, None)
        if self._position:
            _require_ok(self._ask("disconnect", list(paths)))

    def close(self) -> None:
        """Close the connections; Roots forgets the client by itself."""
        self._transport.close()

    def _begin(self) -> None:
        """Become a new client, with every path connected."""
        self._position = self._read_position(self._request("GET", "/comet/"))
        self._connect_paths(list(self._paths))

    def _poll(self) -> None:
        """Acknowledge what was delivered, wait for news, and keep them for delivery."""
        answer = self._request("GET", f"/comet/{self._position}")
        position, body = self._read_position(answer), answer.json()
        is_reset = position.partition("/")[0] != self.uid
        self._position = position
        self._retry_seconds = body.get("retry", 0) / 1000
        self._undelivered.extend(Update(update["path"], update["message"]) for update in body["updates"])
        if is_reset:
            self._connect_paths(list(self._paths))
            self._on_reset()
        for gap in body.get("gaps", []):
            self._on_gap(Gap(gap["path"], gap["reason"]))

    def _connect_paths(self, paths: list[str]) -> None:
        """Connect `paths`; when the uid has ended since the last poll, become a new client with every path."""
        if not paths:
            return
        answer = self._ask("connect", paths)
        beginnings = 0
        while answer.status == _GONE and beginnings < MAX_BEGINNINGS:
            beginnings += 1
            self._position = self._read_position(self._request("GET", "/comet/"))
            answer = self._ask("connect", list(self._paths))
        if answer.status in {_OK, _FORBIDDEN} and (refused := _refused_paths(answer)):
            raise RefusedError(refused)
        _require_ok(answer)
        if beginnings:
            self._on_reset()

    def _ask(self, action: str, paths: list[str]) -> Answer:
        return self._request("POST", f"/{quote(self._app, safe='')}/{action}/{self.uid}", json.dumps(paths).encode())

    def _request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        return self._transport.request(method, path, body, deadline=self._deadline)

    def _wait(self, seconds: float) -> None:
        time.sleep(min(seconds, max(0.0, self._deadline - time.monotonic())))

    def _read_position(self, answer: Answer) -> str:
        _require_ok(answer)
        body = answer.json()
        position: Any = body.get("reconnectWith") if isinstance(body, dict) else None
        if not isinstance(position, str):
            raise AnswerError(answer.status, "the answer is none of Roots; is this its address?")
        return position


def _refused_paths(answer: Answer) -> list[str]:
    body = answer.json()
    refused = body.get("refused", []) if isinstance(body, dict) else []
    return [refusal["path"] for refusal in refused]


def _require_ok(answer: Answer) -> None:
    if answer.status != _OK:
        raise answer_error(answer.status, answer.content)
