"""A client that listens to paths, as a browser does: it begins, connects its paths, and polls.

Each poll acknowledges what the one before brought, so an update comes at least once; it may come again after a lost
answer. Promises: nothing that is answered to a poll ends the listening or makes it poll in a tight loop.
Source: docs/protocol.md, Delivery and Connecting.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from cornelius.errors import DeadlineError, RefusedError, answer_error
from cornelius.settings import GetToken, Identity
from cornelius.transport import MAX_RETRY_AFTER_SECONDS, NO_DEADLINE, Answer, Backoff, Transport, passing_reason

DISCONNECT_PATH = "::+::disconnect"
ENDED = "ended"
# A uid that is refused as soon as it is issued comes from another Roots; asking for more of them won't help.
MAX_BEGINNINGS = 3
# A poll that brings nothing is held for many seconds; as in Pomona, a few that are not are let pass.
QUICK_SECONDS = 1.0
MAX_QUICK_POLLS = 5
QUICK_POLLS = "polls are answered at once with nothing new; does another client use the same uid?"
_OK = 200
_BAD_REQUEST = 400
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_GONE = 410
# The position is not of this Roots: begin again.
_BEGIN_ANEW = frozenset({_BAD_REQUEST, _GONE})


@dataclass(frozen=True, slots=True)
class Update:
    """One message on one path.

    Shape: reason is `ended` for a withdrawal when the grant has come to its own end, else empty.
    """

    path: str
    message: str
    reason: str = ""

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
    """Updates of a path that can't be delivered any more; read its present state again."""

    path: str
    reason: str


def ignore(_news: object = None) -> None:
    """Do nothing about a gap, a reset or a wait."""


class Listener:
    """Listens to `paths` of the application `app`; iterating gives each Update as it comes, for ever.

        with Listener("http://localhost:4020", ["tasks"]) as listener:
            for update in listener:
                ...

    Confirmations and withdrawals are updates too. `on_gap` is called for lost updates. `on_reset` is called when Roots
    has forgotten this client (it was away for too long), after its paths are connected again: updates in between are
    lost. After any failure of a poll the listener tries again. `on_waiting` is called with what is waited for when
    that changes, and with None when it goes on.

    Shape: headers, cookies and the token that `token()` returns go with the requests that connect and disconnect.
        `token` is called again when the application answers 401, and when paths have ended with their token.
    Units: timeout_seconds is how long all of it may take, None for no end; the iteration then ends.
    Errors: RefusedError, AnswerError, from the iteration and from `connect`.
    """

    def __init__(
        self,
        url: str,
        paths: Iterable[str],
        *,
        app: str = "tasks",
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        token: GetToken | None = None,
        timeout_seconds: float | None = None,
        on_gap: Callable[[Gap], None] = ignore,
        on_reset: Callable[[], None] = ignore,
        on_waiting: Callable[[str | None], None] = ignore,
    ) -> None:
        self._deadline = NO_DEADLINE if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._transport = Transport(url, on_wait=self._wait_for)
        self._identity = Identity(url, headers=headers, cookies=cookies, token=token)
        self._app = app
        # A dict keeps the order, and each path once.
        self._paths = dict.fromkeys(paths)
        self._on_gap = on_gap
        self._on_reset = on_reset
        self._on_waiting = on_waiting
        self._waiting_for: str | None = None
        # What is missing while Roots answers.
        self._lack: str | None = None
        self._unconfirmed: dict[str, None] = {}
        self._breaker = _LoopBreaker()
        self._position = ""
        self._undelivered: deque[Update] = deque()
        self._retry_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
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
            self._unconfirmed.pop(path, None)
        if self._position:
            _require_ok(self._ask("disconnect", list(paths)))

    def close(self) -> None:
        """Close the connections; Roots forgets the client by itself."""
        self._transport.close()

    def _begin(self) -> None:
        """Become a new client, with every path connected."""
        self._position = self._first_poll().position
        self._connect_paths(list(self._paths))

    def _first_poll(self) -> "_PollAnswer":
        answer = _read_poll(self._request("GET", "/comet/", passing_reason=_first_poll_passing_reason))
        assert answer is not None, "no other answer stands"  # noqa: S101
        return answer

    def _poll(self) -> None:
        """Acknowledge what was delivered, wait for news, and keep them for delivery."""
        started = time.monotonic()
        answer = _read_poll(self._request("GET", f"/comet/{self._position}", passing_reason=_poll_passing_reason))
        if answer is None:
            answer = self._first_poll()
        is_reset = answer.uid != self.uid
        is_progress = answer.position != self._position and bool(answer.updates or answer.gaps)
        self._position = answer.position
        self._retry_seconds = answer.retry_seconds
        self._undelivered.extend(answer.updates)
        if is_reset:
            self._connect_paths(list(self._paths))
            self._on_reset()
        for gap in answer.gaps:
            self._on_gap(gap)
        self._note_confirmations(answer.updates)
        self._regain([update.message for update in answer.updates if update.reason == ENDED])
        took_seconds = time.monotonic() - started
        wait_seconds = self._breaker.next_wait(is_progress=is_progress, took_seconds=took_seconds)
        if wait_seconds:
            self._lack = QUICK_POLLS
        elif self._unconfirmed and took_seconds >= QUICK_SECONDS:
            paths = ", ".join(self._unconfirmed)
            self._lack = f"no confirmation of {paths} has come; is the application of another Roots?"
        elif not self._unconfirmed or is_progress:
            self._lack = None
        self._wait_for(self._lack)
        self._wait(wait_seconds)

    def _note_confirmations(self, updates: list[Update]) -> None:
        for update in updates:
            if update.is_confirmation or update.is_withdrawal:
                self._unconfirmed.pop(update.message or update.path, None)

    def _regain(self, paths: list[str]) -> None:
        """Connect paths again that have ended with their token, when there is another one."""
        wanted = [path for path in paths if path in self._paths]
        if wanted and self._identity.renew():
            self._connect_paths(wanted)

    def _wait_for(self, reason: str | None) -> None:
        if reason != self._waiting_for:
            self._waiting_for = reason
            self._on_waiting(reason)

    def _connect_paths(self, paths: list[str]) -> None:
        """Connect `paths`; when the uid has ended since the last poll, become a new client with every path."""
        if not paths:
            return
        answer = self._ask("connect", paths)
        beginnings = 0
        while answer.status == _GONE and beginnings < MAX_BEGINNINGS:
            beginnings += 1
            self._position = self._first_poll().position
            answer = self._ask("connect", list(self._paths))
        if answer.status in {_OK, _FORBIDDEN} and (refused := _refused_paths(answer)):
            raise RefusedError(refused)
        _require_ok(answer)
        self._unconfirmed.update(dict.fromkeys(self._paths if beginnings else paths))
        if beginnings:
            self._on_reset()

    def _ask(self, action: str, paths: list[str]) -> Answer:
        path, body = f"/{quote(self._app, safe='')}/{action}/{self.uid}", json.dumps(paths).encode()
        answer = self._request("POST", path, body, self._identity.headers(), passing_reason=_connect_passing_reason)
        if answer.status == _UNAUTHORIZED and self._identity.renew():
            answer = self._request("POST", path, body, self._identity.headers(), passing_reason=_connect_passing_reason)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        passing_reason: Callable[[Answer], str | None],
    ) -> Answer:
        answer = self._transport.request(
            method, path, body, headers=headers, deadline=self._deadline, passing_reason=passing_reason
        )
        self._wait_for(self._lack)
        return answer

    def _wait(self, seconds: float) -> None:
        time.sleep(min(seconds, max(0.0, self._deadline - time.monotonic())))


class _LoopBreaker:
    """Notices polls that are answered at once, again and again, and bring nothing, whatever the reason."""

    def __init__(self) -> None:
        self._quick_polls = 0
        self._backoff = Backoff()

    def next_wait(self, *, is_progress: bool, took_seconds: float) -> float:
        """Return how long to wait before the next poll, 0 when this one was as it should be."""
        if is_progress or took_seconds >= QUICK_SECONDS:
            self._quick_polls = 0
            self._backoff = Backoff()
            return 0.0
        self._quick_polls += 1
        return self._backoff.next_seconds() if self._quick_polls > MAX_QUICK_POLLS else 0.0


class _PollAnswer(NamedTuple):
    """What a poll was answered."""

    position: str
    updates: list[Update]
    gaps: list[Gap]
    retry_seconds: float

    @property
    def uid(self) -> str:
        return self.position.partition("/")[0]


def _read_poll(answer: Answer) -> _PollAnswer | None:
    """Return the answer to a poll; None for what is none, as the page of a proxy."""
    body = _read_object(answer)
    position, updates = body.get("reconnectWith"), body.get("updates")
    if answer.status != _OK or not isinstance(position, str) or not isinstance(updates, list):
        return None
    if not position.partition("/")[0]:
        return None
    retry: Any = body.get("retry", 0)
    is_wait = isinstance(retry, int | float) and retry > 0
    return _PollAnswer(
        position,
        [_read_update(item) for item in updates if _has_texts(item, "path", "message")],
        [Gap(item["path"], item["reason"]) for item in _list_of(body, "gaps") if _has_texts(item, "path", "reason")],
        min(retry / 1000, MAX_RETRY_AFTER_SECONDS) if is_wait else 0.0,
    )


def _read_update(item: dict[str, Any]) -> Update:
    is_end = item["path"] == DISCONNECT_PATH and item.get("reason") == ENDED
    return Update(item["path"], item["message"], ENDED if is_end else "")


def _read_object(answer: Answer) -> dict[str, Any]:
    try:
        body: Any = json.loads(answer.content)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _list_of(body: dict[str, Any], name: str) -> list[Any]:
    found = body.get(name)
    return found if isinstance(found, list) else []


def _has_texts(item: Any, *names: str) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(name), str) for name in names)


def _first_poll_passing_reason(answer: Answer) -> str | None:
    """Return why the answer is no client's beginning; a proxy or a server that starts may say anything."""
    if _read_poll(answer) is not None:
        return None
    return "HTTP 200, but not an answer of Roots" if answer.status == _OK else f"HTTP {answer.status}"


def _poll_passing_reason(answer: Answer) -> str | None:
    return None if answer.status in _BEGIN_ANEW else _first_poll_passing_reason(answer)


def _connect_passing_reason(answer: Answer) -> str | None:
    """Return why connecting may succeed later: what Roots or an application says stands, the page of a proxy passes."""
    body = _read_object(answer)
    if answer.status in {_FORBIDDEN, _GONE} or (answer.status == _OK and body):
        return None
    if answer.status != _OK and "detail" in body:
        return passing_reason(answer)
    return f"connecting is answered with HTTP {answer.status}"


def _refused_paths(answer: Answer) -> list[str]:
    return [item["path"] for item in _list_of(_read_object(answer), "refused") if _has_texts(item, "path")]


def _require_ok(answer: Answer) -> None:
    if answer.status != _OK:
        raise answer_error(answer.status, answer.content)
