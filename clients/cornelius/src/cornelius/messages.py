"""Messages to publish, each with the id that makes it safe to publish again.

Pure: nothing here talks to anybody.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

MAX_BATCH_MESSAGES = 1000
# A message of 64 KiB, its path and its id fit, however much JSON escapes. The back-end API reads up to 8 MiB, but a
# batch that fails is sent again whole.
MAX_BATCH_BYTES = 1 << 20
_BRACKETS_BYTES = 2
_COMMA_BYTES = 1
_PAIR = 2
REVOCATIONS = "::revoke"
"""The path of an outbox's rows that withdraw paths. It has a form that no path of a client has."""
RENDERINGS = "::render"
"""The path of an outbox's rows whose path and message are made when they are published."""
_OWN_PATHS = "::"


def new_id() -> str:
    """Return an id that no other message has, also in a forked process: it comes from the system's random source."""
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Message:
    """One message on one path. The same id is published once, however often it is sent (within an hour)."""

    path: str
    message: str
    id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        for name in ("path", "message", "id"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise TypeError(
                    f"a message's {name} is text, not {type(value).__name__}; json.dumps makes text of data"
                )
            # Half a surrogate pair is a ValueError here, rather than in the middle of what is being sent.
            value.encode()

    def encode(self) -> bytes:
        """Return the message as the back-end API reads it."""
        members = {"path": self.path, "message": self.message, "id": self.id}
        return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Published:
    """A message that is in the log now, at position `seq`."""

    path: str
    seq: int


Publishable = Message | tuple[str, str] | Mapping[str, str]
"""A message as callers may write it: `Message`, `(path, message)`, or `{"path", "message"}`, maybe with an `"id"`."""


def check_outbox_path(path: str) -> None:
    """Check that a row with this path is a message. Errors: ValueError for a path that an outbox uses itself."""
    if path.startswith(_OWN_PATHS):
        raise ValueError(f"no path of a message begins with {_OWN_PATHS}, as {path!r} does")


def read_messages(items: Iterable[Publishable]) -> list[Message]:
    """Return the items as messages. Errors: TypeError or ValueError for what is none."""
    return [_read_message(item) for item in items]


def batches(messages: Iterable[Message]) -> Iterator[tuple[list[Message], bytes]]:
    """Yield the messages in their order, in groups that the back-end API takes at once, each with the body to send.

    A message that is too large for any body is a group of its own: the back-end API says so.
    """
    group: list[Message] = []
    parts: list[bytes] = []
    size_bytes = _BRACKETS_BYTES
    for message in messages:
        part = message.encode()
        added_bytes = len(part) + _COMMA_BYTES
        if group and (len(group) == MAX_BATCH_MESSAGES or size_bytes + added_bytes > MAX_BATCH_BYTES):
            yield group, _join(parts)
            group, parts, size_bytes = [], [], _BRACKETS_BYTES
        group.append(message)
        parts.append(part)
        size_bytes += added_bytes
    if group:
        yield group, _join(parts)


def encode_batch(messages: Iterable[Message]) -> bytes:
    """Return the body that has `messages`."""
    return _join([message.encode() for message in messages])


def _read_message(item: Publishable) -> Message:
    if isinstance(item, Message):
        return item
    if isinstance(item, Mapping):
        unknown = item.keys() - {"path", "message", "id"}
        if unknown or not {"path", "message"} <= item.keys():
            raise TypeError("a message has the members path and message, id if you like, and no others")
        return Message(**item)
    if len(item) != _PAIR or isinstance(item, str):
        raise TypeError("a message is a Message, a pair of path and message, or a mapping")
    return Message(*item)


def _join(parts: list[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"
