"""A poll, and what it needs of the world around it.

`desk` moves polls through their states; this module has what both sides of it share. Nothing here does I/O.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from roots_longpoll.cursor import Cursor
from roots_longpoll.grants import Known
from roots_longpoll.ring import Backlog

NOT_WOKEN = -1


class Reply(Protocol):
    """The connection that waits for an answer."""

    def answer(self, body: bytes) -> None:
        """Send 200 with the JSON `body`."""

    def refuse(self, status: int, detail: str, retry_after_seconds: int) -> None:
        """Send a problem with Retry-After."""


class State(enum.IntEnum):
    """Where a poll stands. It leaves LOOKING and READING only by a call of the world outside, DONE never."""

    LOOKING = 0
    """Its grant record is being fetched."""
    READING = 1
    """Its backlog is being read from the stream."""
    HELD = 2
    """It waits for something to tell."""
    DONE = 3
    """It has been answered, or its client has gone."""


class Poll:
    """One request of one client, from its arrival to its answer.

    Shape: own is the `uid/cursor` as the client sent it. All that is in the log up to seq has been considered;
        woken_after is NOT_WOKEN, or a sequence after which there is news for a poll in the queue. is_checked tells
        that its record was compared with the store, so that it is as new as the cursor.
    Units: began is monotonic seconds.
    """

    __slots__ = (
        "began", "bucket", "client", "cursor", "is_checked", "own", "reply", "seq", "state", "uid", "woken_after",
    )  # fmt: skip

    def __init__(self, *, reply: Reply, uid: bytes, cursor: Cursor, own: bytes, began: float) -> None:
        self.reply = reply
        self.uid = uid
        self.cursor = cursor
        self.own = own
        self.began = began
        self.client: Known = None
        self.seq = cursor.seq
        self.woken_after = NOT_WOKEN
        self.bucket: set[Poll] | None = None
        self.state = State.LOOKING
        self.is_checked = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the stream had for a poll whose backlog is older than the ring.

    Shape: expired has the paths of which events may be gone from the stream; epoch is the stream that was read.
    """

    backlog: Backlog
    expired: tuple[str, ...]
    epoch: int


class Outside(Protocol):
    """What a desk asks of the world; each question is answered later by a call of the desk."""

    def look_up(self, poll: Poll) -> None:
        """Fetch the grant record of the poll's uid; answered by `Desk.grants_found` or `Desk.unavailable`."""

    def replay(self, poll: Poll, starts: list[tuple[str, int]]) -> None:
        """Read the stream from `starts`; answered by `Desk.replayed` or `Desk.unavailable`."""

    def check_head(self) -> None:
        """Compare the ring's head with the stream's end; answered by `Desk.head_checked`."""

    def defer(self, function: Callable[[], None]) -> None:
        """Call `function` after other work has had its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of polls and of their answers (I7)."""

    hold_seconds: float = 25.0
    max_held: int = 50_000
    max_updates: int = 256
    max_answer_bytes: int = 256 * 1024
