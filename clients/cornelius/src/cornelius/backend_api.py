"""The back-end API of Roots, which publishes, and decides what a client may receive.

Promises: every call ends within its time. Every request is safe to repeat, so a temporary failure is retried. While the
back-end API is known to be away, calls fail at once. It may be used by many threads, and in forked processes. Nothing
connects before the first call.
Source: docs/protocol.md, The back-end API.
"""

import json
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

from cornelius.breaker import Breaker, NoBreaker
from cornelius.errors import (
    AnswerError,
    ConfigurationError,
    CorneliusError,
    DeadlineError,
    InvalidError,
    PublishError,
    RevisionError,
    TooManyPathsError,
    UnavailableError,
    UnknownUidError,
    answer_error,
    error_of,
)
from cornelius.messages import (
    MAX_BATCH_MESSAGES,
    Message,
    Publishable,
    Published,
    batches,
    encode_batch,
    new_id,
    read_messages,
)
from cornelius.outcome import NO_ANSWER, Outcome, api_passing_reason, read_left_out
from cornelius.settings import TRY_SECONDS, Settings
from cornelius.transport import Answer, Transport

_OK = 200
_UNPROCESSABLE = 422
_GONE = 410
_SUCCESS_OF_2009 = b"{success:true}"
_ERROR_OF_2009 = b"{error:true}"
MAX_PATHS = 128
"""Paths that one client may receive."""
MAX_EXPLAINED = 100
"""Clients of one request to explain."""
MAX_DECISIONS = 5
"""A revocation that comes between is rare; so many in a row have another cause."""
ALWAYS_REVOKED = "a revocation came between each decision and its grant"
_UID = re.compile(r"[A-Za-z0-9_-]{1,255}")

ASKED_AT: ContextVar[float | None] = ContextVar("ASKED_AT", default=None)
"""When the call under way was asked for, if it has waited for a thread since: its time began then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """How many paths were withdrawn from how many clients."""

    clients: int
    paths: int


class OutboxWriter(Protocol):
    """Writes events into the transaction under way of the database `using`; each has an id."""

    def publish(self, path: str, message: str, ordering_key: str | None, using: str | None) -> str:
        """Write a message, and return its id."""

    def revoke(self, subject: str | None, path: str | None, uid: str | None, using: str | None) -> str:
        """Write a revocation, and return its id."""


class Dudley:
    """A client of one back-end API. A URL or key that is not given comes from the environment, at the first call.

        from cornelius import dudley      # the one that most programs need

        dudley.configure(url="http://localhost:8004", key="…")
        dudley.update("tasks", '{"guid": "/task/12"}')

    Errors: every method raises a CorneliusError: ConfigurationError, UnavailableError when the time is over, an
        AnswerError when trying again would not help. TypeError for arguments that are none.
    """

    def __init__(self, *, url: str | None = None, key: str | None = None, timeout_seconds: float | None = None) -> None:
        # No lock anywhere: one that another thread holds at a fork would never be released in the child.
        self._read_settings: Callable[[], Settings] = lambda: Settings.read(url, key, timeout_seconds)
        self._opened: _Opened | None = None
        self._create_breaker: type[Breaker] = Breaker
        self.outbox: OutboxWriter | None = None
        """What writes events into the transactions of the project."""

    def configure(
        self, *, url: str | None = None, key: str | None = None, timeout_seconds: float | None = None
    ) -> None:
        """Use another address, key or time from the next call on; None means the environment's, or the default.

        Units: timeout_seconds is how long a call may take with all its tries, 15 by default.
        Errors: ConfigurationError when a value can't be used.
        """
        # Read now, so that a mistake is reported here. The first call reads them again: the environment counts then.
        Settings.read(url, key, timeout_seconds)
        self._read_settings = lambda: Settings.read(url, key, timeout_seconds)

    def update(self, path: str, message: str, *, id: str | None = None) -> Published:  # noqa: A002  # the wire's name
        """Publish `message` on `path`. With an `id` of your own, the same update is published once, within an hour.

        Errors: ForbiddenError when this back end may not publish there, InvalidError when the path or message is none.
        """
        try:
            return self.updates([Message(path, message, id=new_id() if id is None else id)])[0]
        except PublishError as error:
            (failure,) = error.failures
            raise error_of(failure.status, failure.detail) from None

    def updates(self, messages: Iterable[Publishable]) -> list[Published]:
        """Publish messages in their order, in as few requests as possible; each request has its own time.

        Errors: PublishError when some of them are refused, after all others were published; UnavailableError with the
            messages that may be unpublished.
        """
        waiting = read_messages(messages)
        outcome = Outcome()
        deadline, done = self._deadline(), 0
        for batch, body in batches(waiting):
            try:
                self._publish(batch, body, deadline, outcome)
            except CorneliusError as error:
                error.messages = tuple(waiting[done:])
                raise
            done += len(batch)
            deadline = time.monotonic() + self._open().settings.timeout_seconds
        return outcome.published_or_raise()

    def connect(
        self,
        uid: str,
        paths: Iterable[str],
        subject: str | None = None,
        until: datetime | float | None = None,
        info: Any = None,
        if_revision: str | None = None,
    ) -> None:
        """Connect the client `uid` to `paths`; its poll confirms them.

        Shape: subject is who the client is, as you name your users: it binds the uid, and `revoke` takes it; info is
            kept with the grant, at most 512 bytes of JSON; if_revision is what `revision` returned before you decided.
        Units: until is when the grant ends by itself, an aware datetime or seconds since 1970; None for no end.
        Errors: UnknownUidError when the uid has ended or is none of this Roots; OtherSubjectError when it belongs to
            another subject; RevisionError when a revocation came after the revision; ForbiddenError when this back end
            may not grant one of them; TooManyPathsError when the client would receive more than 128, after those that
            fit are connected; InvalidError when something is invalid.
        """
        _check_uid(uid)
        wanted = _read_paths(paths)
        seconds = _seconds_of(until) if isinstance(until, datetime) else until
        terms = {"subject": subject, "until": seconds, "info": info, "if_revision": if_revision}
        given = {name: value for name, value in terms.items() if value is not None}
        deadline, left_out = self._deadline(), list[str]()
        for start in range(0, len(wanted), MAX_PATHS):
            some = wanted[start : start + MAX_PATHS]
            body = json.dumps({"uid": uid, "paths": some, **given}, allow_nan=False).encode()
            answer = self._request("POST", "/v1/connect", body, deadline=deadline)
            left_out += read_left_out(answer)
        if left_out:
            raise TooManyPathsError(_UNPROCESSABLE, left_out)

    def revision(self, subject: str | None = None) -> str:
        """Return the present, to be read before you decide what `subject` may receive: see `connect`."""
        query = "" if subject is None else f"?{urlencode({'subject': subject})}"
        try:
            return str(self._ask("GET", f"/v1/revision{query}")["revision"])
        except (KeyError, TypeError) as error:
            raise AnswerError(_OK, NO_ANSWER) from error

    def connect_decided(
        self,
        uid: str,
        decide: Callable[[], Iterable[str]],
        subject: str | None = None,
        until: datetime | float | None = None,
        info: Any = None,
    ) -> list[str]:
        """Connect the client `uid` to the paths that `decide()` returns, and return them.

        `decide` is called again when a revocation came between, so it reads from the database at each call, and not in
        a transaction that began before. Errors: as `connect`; UnavailableError after MAX_DECISIONS calls.
        """
        for _ in range(MAX_DECISIONS):
            revision = self.revision(subject)
            paths = _read_paths(decide())
            with suppress(RevisionError):
                self.connect(uid, paths, subject, until, info, revision)
                return paths
        raise UnavailableError(ALWAYS_REVOKED)

    def disconnect(self, uid: str, paths: Iterable[str]) -> None:
        """Disconnect the client `uid` from `paths`; its poll gets that within a second.

        A client that has ended is passed over.
        Errors: ForbiddenError, InvalidError; UnknownUidError when the uid can't be one.
        """
        _check_uid(uid)
        wanted, deadline = _read_paths(paths), self._deadline()
        for start in range(0, len(wanted), MAX_BATCH_MESSAGES):
            some = wanted[start : start + MAX_BATCH_MESSAGES]
            body = json.dumps([{"path": "::disconnect", "message": f"{uid}->{path}"} for path in some]).encode()
            answer = self._request("POST", "/", body, deadline=deadline)
            if answer.status == _OK and answer.content == _ERROR_OF_2009:
                raise InvalidError(answer.status, "one of these is no path")
            if answer.status != _OK or answer.content != _SUCCESS_OF_2009:
                raise answer_error(answer.status, answer.content)

    def explain(self, uid: str, *, path: str | None = None) -> dict[str, Any]:
        """Return what the client `uid` may receive, since when and until when; with `path`, why it may not receive it.

        Shape: the back-end API's answer as it is, see docs/protocol.md.
        """
        query = "" if path is None else f"?{urlencode({'path': path})}"
        explanation: dict[str, Any] = self._ask("GET", f"{_client(uid)}{query}")
        return explanation

    def explain_all(self, uids: Iterable[str], *, path: str | None = None) -> dict[str, dict[str, Any] | None]:
        """Return what `explain` does for each of `uids`, None for one that has ended; a hundred in each request."""
        wanted = list(dict.fromkeys(uids))
        explained: dict[str, dict[str, Any] | None] = {}
        for start in range(0, len(wanted), MAX_EXPLAINED):
            some = wanted[start : start + MAX_EXPLAINED]
            question = {"uids": some} if path is None else {"uids": some, "path": path}
            try:
                clients = self._ask("POST", "/v1/explain", json.dumps(question).encode())["clients"]
                explained.update(zip(some, clients, strict=True))
            except (KeyError, TypeError, ValueError) as error:
                raise AnswerError(_OK, NO_ANSWER) from error
        return explained

    def forget(self, uid: str) -> Revoked:
        """Withdraw from the client `uid` every path that this back end may grant, within a second."""
        return _read_revoked(self._ask("DELETE", _client(uid)))

    def revoke(self, *, uid: str | None = None, subject: str | None = None, path: str | None = None) -> Revoked:
        """Withdraw what is named: all or one path of a client or of a subject (who is signed in), or a path of all.

        Only what this back end may grant. It forbids nothing: what the policy or a view allows can be connected again.
        """
        _check_named(uid, subject, path)
        given = {"uid": uid, "subject": subject, "path": path}
        body = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
        return _read_revoked(self._ask("POST", "/v1/revoke", body))

    def publish_later(
        self, path: str, message: str, *, ordering_key: str | None = None, using: str | None = None
    ) -> str:
        """Publish `message` on `path` if and when the transaction under way is committed; return the event's id.

        Messages of one ordering key, by default of one path, are published in commit order.
        Shape: using is the alias of Django's database, "default" by default.
        Errors: ConfigurationError when there is no outbox; TypeError or ValueError for what is no message; those of the
            database.
        """
        return self._own_outbox().publish(path, message, ordering_key, using)

    def revoke_later(
        self,
        *,
        subject: str | None = None,
        path: str | None = None,
        uid: str | None = None,
        using: str | None = None,
    ) -> str:
        """Withdraw as `revoke` does, if and when the transaction under way is committed. Errors: as `publish_later`."""
        _check_named(uid, subject, path)
        return self._own_outbox().revoke(subject, path, uid, using)

    def trying_once(self) -> "Dudley":
        """Return another client with the same settings, which tries each call once, for who tries again himself."""
        other = Dudley()
        other._read_settings = self._read_settings
        other._create_breaker = NoBreaker
        return other

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.transport.close()

    def _own_outbox(self) -> "OutboxWriter":
        if self.outbox is None:
            raise ConfigurationError('there is no outbox; Django has one by the setting CORNELIUS = {"outbox": True}')
        return self.outbox

    def _publish(self, batch: list[Message], body: bytes, deadline: float, outcome: Outcome) -> None:
        """Publish a batch. A batch with a refused message is not published, so it is sent again without those."""
        while batch:
            answer = self._request("POST", "/v1/publish", body, deadline=deadline)
            batch = outcome.add(batch, answer)
            body = encode_batch(batch)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        answer = self._request(method, path, body, deadline=self._deadline())
        if answer.status != _OK:
            raise answer_error(answer.status, answer.content)
        return answer.json()

    def _request(self, method: str, path: str, body: bytes | None, *, deadline: float) -> Answer:
        opened = self._open()
        is_trial = opened.breaker.admit()
        try:
            answer = opened.transport.request(method, path, body, deadline=deadline, is_single=is_trial)
        except DeadlineError as error:
            if is_trial or error.try_seconds is not None:
                opened.breaker.open(error)
            raise UnavailableError(
                error.reason, retry_after_seconds=error.retry_after_seconds, try_seconds=error.try_seconds
            ) from error
        except CorneliusError:
            opened.breaker.close()
            raise
        opened.breaker.close()
        return answer

    def _deadline(self) -> float:
        asked_at = ASKED_AT.get()
        return (time.monotonic() if asked_at is None else asked_at) + self._open().settings.timeout_seconds

    def _open(self) -> "_Opened":
        source, opened = self._read_settings, self._opened
        # What was opened with other settings, by a thread that had read them before `configure`, is not used again.
        if opened is None or opened.source is not source:
            settings = source()
            transport = Transport(
                settings.url,
                headers=settings.headers,
                try_seconds=TRY_SECONDS,
                passing_reason=api_passing_reason,
            )
            opened = self._opened = _Opened(source, settings, transport, self._create_breaker())
        return opened


class _Opened(NamedTuple):
    """The connections, and the settings that they were opened with."""

    source: Callable[[], Settings]
    settings: Settings
    transport: Transport
    breaker: Breaker


def _client(uid: str) -> str:
    _check_uid(uid)
    return f"/v1/clients/{quote(uid, safe='')}"


def _read_revoked(body: Any) -> Revoked:
    try:
        return Revoked(clients=body["revoked"]["clients"], paths=body["revoked"]["paths"])
    except (KeyError, TypeError) as error:
        raise AnswerError(_OK, NO_ANSWER) from error


def _seconds_of(until: datetime) -> float:
    if until.tzinfo is None:
        raise ValueError("until is a datetime with a time zone")
    return until.timestamp()


def _read_paths(paths: Iterable[str]) -> list[str]:
    if isinstance(paths, str):
        raise TypeError("paths is a list of paths, not one text")
    return list(dict.fromkeys(paths))


def _check_named(uid: str | None, subject: str | None, path: str | None) -> None:
    if (uid is None and subject is None and path is None) or (uid is not None and subject is not None):
        raise TypeError("revoke takes a uid or a subject, a path, or a path with one of those")
    if uid is not None:
        _check_uid(uid)


def _check_uid(uid: str) -> None:
    # It comes from a browser. What can't be one would be another resource of the back-end API, or another command.
    if not _UID.fullmatch(uid):
        raise UnknownUidError(_GONE, "this is no uid")
