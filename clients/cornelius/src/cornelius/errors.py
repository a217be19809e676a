"""What can go wrong for a back end that talks to Roots, and what to do about it.

Promises: no message and no attribute of an error has a key in it, and no message has a uid.
"""

import json
from dataclasses import dataclass
from typing import Any

from cornelius.messages import Message, Published


class CorneliusError(Exception):
    """Base of this package's errors.

    Shape: messages has what may be unpublished when `dudley.updates` has failed, with its ids: passed to it again
        within an hour, nothing is published twice.
    """

    messages: tuple[Message, ...] = ()


class ConfigurationError(CorneliusError):
    """The address or the key is missing or can't be used; the message names what to set."""


class ChangeError(CorneliusError):
    """The message about a change of a Django model could not be made; `__cause__` is the exception."""


class LineError(CorneliusError):
    """A line of the command's input is no message."""


class DeadlineError(CorneliusError):
    """The time of the call is over; `reason` says how the last try failed. Trying again may help.

    Units: retry_after_seconds is how long Roots asked to wait, 0 when it did not ask; try_seconds how long the last try
        has taken, None when none has reached Roots.
    """

    def __init__(self, reason: str, *, retry_after_seconds: float = 0.0, try_seconds: float | None = None) -> None:
        super().__init__(f"the time is over; the last try: {reason}")
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.try_seconds = try_seconds


class UnavailableError(DeadlineError):
    """The back-end API did not answer in time, or could not do it. It may have done it or not. Try again later."""


class BreakerOpenError(UnavailableError):
    """Nothing was sent: an earlier call has failed, and the next try is in `retry_after_seconds`."""

    def __str__(self) -> str:
        return f"not tried, since an earlier call has failed: {self.reason}"


class AnswerError(CorneliusError):
    """Roots answered something that trying again won't change; `status` is the HTTP status, `detail` its reason."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{detail} (HTTP {status})")
        self.status = status
        self.detail = detail


class KeyRefusedError(AnswerError):
    """The key is unknown (401): set ROOTS_BACKEND_API_KEY to the one in the policy's `[backends]`."""


class ForbiddenError(AnswerError):
    """The key is known, but may not do this (403): add the path to `publish` or `grant` of the back end's policy."""


class UnknownUidError(AnswerError):
    """The uid is not one of this Roots, or has ended (410): answer 410 to the page, and it begins again."""


class OtherSubjectError(AnswerError):
    """The uid belongs to another subject (409): answer 403 with reason `identity`, and the page begins again."""


class RevisionError(AnswerError):
    """A revocation came after the revision (409): read another revision, and decide again."""


class InvalidError(AnswerError):
    """The request itself is wrong (400, 404, 413, 422): an invalid path, message or uid; correct the caller."""


class TooManyPathsError(InvalidError):
    """The client receives as many paths as one may (128). Those in `paths` are not connected, all others are."""

    def __init__(self, status: int, paths: list[str]) -> None:
        super().__init__(status, f"a client receives at most 128 paths, so {len(paths)} are not connected")
        self.paths = paths


class RefusedError(CorneliusError):
    """This client may not receive some of the paths; ask for others, or change the policy.

    Shape: paths has the refused ones.
    """

    def __init__(self, paths: list[str]) -> None:
        super().__init__(f"refused: {', '.join(paths)}")
        self.paths = paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A message that was not published, and why; `status` is the HTTP status that it would have had alone."""

    message: Message
    status: int
    detail: str


class PublishError(CorneliusError):
    """The back-end API refused some messages, and publishing them again won't help; all others are published.

    Shape: failures has those that were not, published those that were, in the caller's order.
    """

    def __init__(self, failures: list[Failure], published: list[Published]) -> None:
        first = failures[0]
        super().__init__(
            f"{len(failures)} of {len(failures) + len(published)} messages were not published;"
            f" the first, on {first.message.path!r}: {first.detail} (HTTP {first.status})"
        )
        self.failures = failures
        self.published = published


_CONFLICT = 409
_BY_STATUS: dict[int, type[AnswerError]] = {
    400: InvalidError,
    401: KeyRefusedError,
    403: ForbiddenError,
    404: InvalidError,
    410: UnknownUidError,
    413: InvalidError,
    422: InvalidError,
}


_BY_REASON: dict[object, type[AnswerError]] = {"subject": OtherSubjectError, "revision": RevisionError}
"""The errors of a conflict (409)."""

_DETAILS = {
    401: "the back-end API does not know this key",
    403: "this key may not do that",
    410: "the client has ended, or is none of this Roots",
}


def answer_error(status: int, content: bytes) -> AnswerError:
    """Return the error for an answer that is none of the wanted ones; its body is best a problem with a `detail`."""
    try:
        body: Any = json.loads(content)
    except ValueError:
        body = None
    members = body if isinstance(body, dict) else {}
    detail = str(members.get("detail") or _DETAILS.get(status, "Roots refused the request"))
    conflict = _BY_REASON.get(str(members.get("reason"))) if status == _CONFLICT else None
    return error_of(status, detail) if conflict is None else conflict(status, detail)


def error_of(status: int, detail: str) -> AnswerError:
    """Return the error that `status` is."""
    return _BY_STATUS.get(status, AnswerError)(status, detail)
