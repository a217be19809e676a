"""A poll, the reply that it waits for, and what the dispatcher needs done for it. Nothing here does I/O."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from roots.contracts.timing import DEFAULT_HOLD_SECONDS
from roots_longpoll.delivery.cursor import Cursor
from roots_longpoll.delivery.grants import ClientGrants, MaybeClient
from roots_longpoll.delivery.responses import SharedBody
from roots_longpoll.delivery.ring import Backlog
from roots_longpoll.delivery.states import State


class Reply(Protocol):
    """The connection that waits for an answer."""

    def answer(self, body: bytes) -> None:
        """Send 200 with the JSON `body`."""

    def answer_shared(self, shared: SharedBody, uid: bytes) -> None:
        """Send 200 with the body that `shared` is for `uid`."""

    def refuse(self, status: int, detail: str, retry_after_seconds: int) -> None:
        """Send a problem with Retry-After."""


class Poll(msgspec.Struct, eq=False, gc=False):
    """One request of one client, from its arrival to its answer. As a Struct it is made in a quarter of the time.

    Shape: epoch and acked_grant_version are its cursor's. seq begins as its cursor's: all up to it was considered.
        is_checked: its record was compared with the store, so it is as new as the cursor. The collector
        does not look at it: its reply lets go of it once it is answered.
    Units: it began, and its hold is due, at monotonic seconds.
    """

    reply: Reply
    uid: bytes
    epoch: int
    seq: int
    acked_grant_version: int
    began: float
    due: float
    client: MaybeClient = None
    state: State = State.NEW
    is_checked: bool = False

    @property
    def cursor(self) -> Cursor:
        """Where its client stands."""
        return Cursor(self.epoch, self.seq, self.acked_grant_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What the stream had for a poll whose backlog is older than the ring.

    Shape: expired has the paths of which events may be gone from the stream; epoch is the stream that was read.
    """

    backlog: Backlog
    expired: tuple[str, ...]
    epoch: int


@dataclass(frozen=True, slots=True)
class NeedRecords:
    """The grant records of `polls` must be read. Result: `grants_found` or `unavailable` for each of them."""

    polls: Sequence[Poll]


@dataclass(frozen=True, slots=True)
class NeedReplay:
    """The stream must be read for `poll`, whose grants are `client`. Result: `replayed` or `unavailable`.

    Shape: starts is (path, sequence after which the path is wanted).
    """

    poll: Poll
    client: ClientGrants
    starts: tuple[tuple[str, int], ...]


class Need(enum.Enum):
    """What the dispatcher needs for many polls at once."""

    HEAD_CHECK = enum.auto()
    """The ring's head must be compared with the end of the stream. Result: `head_checked`."""
    NEXT_SLICE = enum.auto()
    """More polls are to be answered, after other work has had its turn. Result: `answer_woken`."""


AnyNeed: TypeAlias = NeedRecords | NeedReplay | Need
"""What the dispatcher can't do itself. Whoever does it gives the result back by the method that is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of polls and of their answers (I7)."""

    hold_seconds: float = DEFAULT_HOLD_SECONDS
    max_held: int = 50_000
    max_updates: int = 256
    max_answer_bytes: int = 256 * 1024
