"""Reads the back-end API's answers to `POST /v1/publish` and `POST /v1/connect`. Pure.

The back-end API publishes a whole batch, or publishes none of it and names the refused messages (under `errors` with
422, under `refused` with 403). Only the log itself can refuse some after others were stored (502, under `failed`).
Source: docs/protocol.md, The back-end API.
"""

import json
from typing import Any

from cornelius.errors import AnswerError, Failure, PublishError, answer_error
from cornelius.messages import Message, Published
from cornelius.transport import Answer, passing_reason

NO_ANSWER = "the answer is none of the back-end API's; is this its address?"
_OK = 200
_FORBIDDEN = 403
_UNPROCESSABLE = 422
_TOO_LARGE = 413
_REFUSED_BY_LOG = 502
_MEMBERS = {_FORBIDDEN: "refused", _UNPROCESSABLE: "errors", _REFUSED_BY_LOG: "failed"}
"""Under which name an answer has the refused messages."""


class Outcome:
    """What has become of messages so far."""

    def __init__(self) -> None:
        self._published: list[Published] = []
        self._failures: list[Failure] = []

    def add(self, batch: list[Message], answer: Answer) -> list[Message]:
        """Take in the answer to `batch`, and return those of its messages that are to be sent again by themselves.

        Errors: AnswerError when it says nothing of the messages.
        """
        if answer.status == _OK:
            self._published += _read_published(answer)
            return []
        refusals = _read_refusals(answer, len(batch))
        if not refusals:
            raise answer_error(answer.status, answer.content)
        self._failures += [
            Failure(message=batch[index], status=answer.status, detail=refusals[index]) for index in sorted(refusals)
        ]
        if answer.status == _REFUSED_BY_LOG:
            self._published += _read_published(answer)
            return []
        return [message for index, message in enumerate(batch) if index not in refusals]

    def published_or_raise(self) -> list[Published]:
        """Return what is published. Errors: PublishError when some messages are not."""
        if self._failures:
            raise PublishError(self._failures, self._published)
        return self._published


def api_passing_reason(answer: Answer) -> str | None:
    """Return why the back-end API may answer otherwise later; None when the answer stands.

    It stands when the log has refused messages, which looks like the failure of a proxy.
    """
    is_refused_for_good = answer.status == _REFUSED_BY_LOG and bool(_members(answer, "failed"))
    return None if is_refused_for_good else passing_reason(answer)


def read_left_out(answer: Answer) -> list[str]:
    """Return the paths of a request to connect for which the client has no room. Errors: AnswerError."""
    refused = _members(answer, "refused")
    is_full = answer.status == _UNPROCESSABLE and bool(refused)
    if answer.status != _OK and not is_full:
        raise answer_error(answer.status, answer.content)
    try:
        if not is_full:
            answer.json()["connected"]
        return [item["path"] for item in refused]
    except (KeyError, TypeError) as error:
        raise AnswerError(answer.status, NO_ANSWER) from error


def _read_published(answer: Answer) -> list[Published]:
    try:
        return [Published(item["path"], item["seq"]) for item in answer.json()["published"]]
    except (KeyError, TypeError) as error:
        raise AnswerError(answer.status, NO_ANSWER) from error


def _read_refusals(answer: Answer, size: int) -> dict[int, str]:
    """Return why each refused message is, by its index; empty when the answer is about no message in particular."""
    if answer.status == _TOO_LARGE:
        return dict.fromkeys(range(size), "it is too large")
    refusals: dict[int, str] = {}
    for item in _members(answer, _MEMBERS.get(answer.status, "")):
        index = item.get("index") if isinstance(item, dict) else None
        if not isinstance(index, int) or not 0 <= index < size:
            raise AnswerError(answer.status, "the answer names messages that were not sent")
        refusals[index] = _detail(answer.status, item)
    return refusals


def _detail(status: int, item: dict[str, Any]) -> str:
    if status == _FORBIDDEN:
        return "this key may not publish on the path"
    if status == _REFUSED_BY_LOG:
        return "the log does not take it"
    return f"{item.get('field') or 'message'}: {item.get('detail')}"


def _members(answer: Answer, name: str) -> list[Any]:
    try:
        body = json.loads(answer.content)
    except ValueError:
        return []
    members = body.get(name) if isinstance(body, dict) else None
    return members if isinstance(members, list) else []
