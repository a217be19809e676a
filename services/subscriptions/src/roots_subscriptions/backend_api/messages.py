"""The messages of a publish request: what back ends send, checked item by item and made into events.

May import: msgspec, roots. Source: docs/protocol.md, The back-end API.
"""

import re
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from roots.contracts.events import MAX_BATCH, MAX_MESSAGE_BYTES, Event, new_event_id
from roots.contracts.subjects import PATH_RULE, is_path
from roots.http.web import Problem

_ID = re.compile(r"[\x21-\x7e]{1,128}")


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One item of a request. Shape: id is the back end's own name of the event, None when it gave none."""

    path: str
    message: str
    id: str | None = None


def check_count(items: Sequence[Any], *, least: int = 1) -> None:
    """Return when a request has at least `least` items, and at most MAX_BATCH. Errors: Problem 422."""
    if not least <= len(items) <= MAX_BATCH:
        raise Problem(422, f"The array has {least}-{MAX_BATCH} messages, not {len(items)}.", field="body")


def check_messages(items: Sequence[Any]) -> list[Message]:
    """Return the items of a request as messages, each with an id.

    Errors: Problem 422 that names every item that is wrong.
    """
    messages: list[Message] = []
    errors: list[dict[str, Any]] = []
    by_id: dict[str, Message] = {}
    for index, item in enumerate(items):
        fault: tuple[str | None, str] | None
        try:
            message = msgspec.convert(item, Message)
            fault = _fault_of(message)
        except msgspec.ValidationError as error:
            detail, _, place = str(error).partition(" - at `$.")
            fault = (place.rstrip("`") or None, detail)
        else:
            if message.id is None:
                message = msgspec.structs.replace(message, id=new_event_id())
            elif fault is None and by_id.setdefault(message.id, message) != message:
                fault = ("id", "another message of this batch has the same id")
            messages.append(message)
        if fault is not None:
            errors.append({"index": index, "field": fault[0], "detail": fault[1]})
    if errors:
        first = errors[0]
        place = f"[{first['index']}]" + (f".{first['field']}" if first["field"] else "")
        detail = f"None of the {len(items)} messages is published. How many are wrong: {len(errors)}."
        raise Problem(422, detail, field=place, errors=errors)
    return messages


def event_of(message: Message, backend: str, traceparent: str | None) -> Event:
    """Return the event that `message` asks for, committed now.

    Its id begins with the name of the back end, so that none suppresses an event of another, or of a service.
    """
    return Event(
        path=message.path,
        message=message.message.encode(),
        event_id=f"{backend}:{message.id}",
        committed_ns=time.time_ns(),
        traceparent=traceparent,
    )


def _fault_of(message: Message) -> tuple[str, str] | None:
    """Return the member at fault and what is wrong with it."""
    if not is_path(message.path):
        return "path", PATH_RULE
    try:
        size = len(message.message.encode())
    except UnicodeEncodeError:
        return "message", "it has half a surrogate pair, which is no text"
    if size == 0:
        return "message", "it is empty, and an empty message confirms a granted path"
    if size > MAX_MESSAGE_BYTES:
        return "message", f"it has {size} bytes of UTF-8, more than {MAX_MESSAGE_BYTES}"
    if message.id is not None and _ID.fullmatch(message.id) is None:
        return "id", "an id is 1-128 visible characters of ASCII"
    return None
