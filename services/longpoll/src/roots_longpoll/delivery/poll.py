"""A poll, and what it needs of the world around it.

`desk` moves polls through their states; this module has what both sides of it share. Nothing here does I/O.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from roots.contracts.timing import DEFAULT_HOLD_SECONDS
from roots_longpoll.delivery.cursor import Cursor
from roots_longpoll.delivery.grants import Known
from roots_longpoll.delivery.responses import SharedBody
from roots_longpoll.delivery.ring import Backlog


class Reply(Protocol):
    """The connection that waits for an answer."""

    def answer(self, body: bytes) -> None:
        """Send 200 with the JSON `body`."""

    def answer_shared(self, shared: SharedBody, uid: bytes) -> None:
        """Send 200 with the body that `shared` is for `uid`."""

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


class Poll(msgspec.Struct, eq=False, gc=False):
    """One request of one client, from its arrival to its answer. As a Struct it is made in a quarter of the time.

    Shape: epoch and told are its cursor's, and seq begins as its cursor's: all in the log up to it has been considered.
        is_checked tells that its record was compared with the store, so that it is as new as the cursor. The collector
        does not look at it: its reply lets go of it once it is answered.
    Units: it began, and its hold is due, at monotonic seconds.
    """

    reply: Reply
    uid: bytes
    epoch: int
    seq: int
    told: int
    began: float
    due: float
    client: Known = None
    state: State = State.LOOKING
    is_checked: bool = False

    @property
    def cursor(self) -> Cursor:
        """Where its client stands."""
        return Cursor(self.epoch, self.seq, self.told)


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

    hold_seconds: float = DEFAULT_HOLD_SECONDS
    max_held: int = 50_000
    max_updates: int = 256
    max_answer_bytes: int = 256 * 1024
