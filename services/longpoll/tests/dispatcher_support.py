"""A dispatcher without NATS and without sockets: what it needs is kept in lists, and so are its answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from roots.contracts.uids import Uids
from roots_longpoll.delivery.cursor import Cursor, parse
from roots_longpoll.delivery.dispatcher import PollDispatcher
from roots_longpoll.delivery.grants import GrantsView
from roots_longpoll.delivery.poll import AnyNeed, Limits, Need, NeedRecords, NeedReplay, Poll
from roots_longpoll.delivery.responses import SharedBody
from roots_longpoll.delivery.ring import Event, Ring
from roots_longpoll.delivery.stats import Stats

UID_KEY = b"a key for tests, of 32 bytes or more"
EPOCH = 1_700_000_000_000
FAR_FUTURE = 4_000_000_000.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A parsed body. Shape: updates are (path, message), gaps (path, reason)."""

    updates: list[tuple[str, str]]
    uid: bytes
    cursor: Cursor
    gaps: list[tuple[str, str]]
    retry: int | None


def read_answer(body: bytes) -> Answer:
    """Return what `body` says; fail when it is no answer of the protocol."""
    raw = json.loads(body)
    assert set(raw) <= {"updates", "reconnectWith", "gaps", "retry"}
    uid, _, cursor = raw["reconnectWith"].partition("/")
    return Answer(
        updates=[(update["path"], update["message"]) for update in raw["updates"]],
        uid=uid.encode(),
        cursor=parse(cursor.encode()),
        gaps=[(gap["path"], gap["reason"]) for gap in raw.get("gaps", [])],
        retry=raw.get("retry"),
    )


@dataclass(eq=False)
class FakeReply:
    """Keeps what a client would receive."""

    answers: list[Answer] = field(default_factory=list)
    refusals: list[tuple[int, int]] = field(default_factory=list)

    def answer(self, body: bytes) -> None:
        """Keep an answer."""
        self.answers.append(read_answer(body))

    def answer_shared(self, shared: SharedBody, uid: bytes) -> None:
        """Keep an answer whose body others share."""
        self.answer(shared.of(uid))

    def refuse(self, status: int, _detail: str, retry_after_seconds: int) -> None:
        """Keep a refusal."""
        self.refusals.append((status, retry_after_seconds))

    @property
    def is_done(self) -> bool:
        """Whether the client has anything."""
        return bool(self.answers or self.refusals)

    @property
    def only(self) -> Answer:
        """The one answer; fail when there is none, more than one, or a refusal."""
        assert (1, []) == (len(self.answers), self.refusals)
        return self.answers[0]


@dataclass
class Needs:
    """Keeps what the dispatcher needs; the test gives it the results, or does not."""

    lookups: list[Poll] = field(default_factory=list)
    replays: list[NeedReplay] = field(default_factory=list)
    head_checks: int = 0
    slices: int = 0

    def take(self, need: AnyNeed) -> None:
        """Keep `need`."""
        match need:
            case NeedRecords(polls=polls):
                self.lookups += polls
            case NeedReplay():
                self.replays.append(need)
            case Need.HEAD_CHECK:
                self.head_checks += 1
            case Need.NEXT_SLICE:
                self.slices += 1


def grant(start: int, n: int = 1, **others: float) -> dict[str, float]:
    """Return one path of a record, granted and confirmed by change `n`."""
    return {"from": start, "n": n, "since": n, "epoch": EPOCH, **others}


def record(
    n: int,
    paths: Mapping[str, Mapping[str, float]],
    *,
    gone: Mapping[str, int] | None = None,
    expires: float = FAR_FUTURE,
) -> bytes:
    """Return a grant record as the subscriptions service writes it."""
    return msgspec.json.encode({"subject": None, "n": n, "paths": paths, "gone": gone or {}, "expires": expires})


class DispatcherBench:
    """One dispatcher with its ring and its view, and short ways to use it. Shape: uid is one without a record."""

    def __init__(
        self,
        *,
        ring_bytes: int = 1 << 20,
        limits: Limits | None = None,
        head: int = 0,
        uids: Uids | None = None,
        capacity: int = 5000,
    ) -> None:
        self.ring = Ring(ring_bytes)
        self.view = GrantsView(capacity)
        self.uids = uids or Uids(UID_KEY)
        self.needs = Needs()
        self.stats = Stats()
        self.dispatcher = PollDispatcher(
            ring=self.ring, view=self.view, uids=self.uids, stats=self.stats, limits=limits or Limits(),
            need=self.needs.take,
        )  # fmt: skip
        self.dispatcher.begin(EPOCH, head, [], head)
        self.uid = self.mint()
        self._revision = 0

    def mint(self) -> bytes:
        """Return a new uid."""
        return self.uids.mint().encode()

    def put(self, raw: bytes, uid: bytes | None = None) -> None:
        """Let a record come on the live way."""
        uid = self.uid if uid is None else uid
        self._revision += 1
        self.dispatcher.grants_known(uid, self.view.apply(uid, raw, self._revision))

    def found(self, raw: bytes = b"", revision: int = 100) -> None:
        """Let the store answer the oldest question for a record."""
        poll = self.needs.lookups.pop(0)
        known = self.view.apply(poll.uid, raw, revision) if raw else self.view.note_absent(poll.uid)
        self.dispatcher.grants_found(poll, known)

    @property
    def asked(self) -> list[bytes]:
        """The uids whose records the dispatcher has asked for."""
        return [poll.uid for poll in self.needs.lookups]

    def connect(self, *paths: str, start: int | None = None, uid: bytes | None = None) -> None:
        """Grant `paths` by the first change of a record, from `start` on, or from now."""
        start = self.ring.head if start is None else start
        self.put(record(1, {path: grant(start) for path in paths}), uid)

    def poll(self, seq: int, acked: int = 0, *, epoch: int = EPOCH, uid: bytes | None = None) -> FakeReply:
        """Let a client poll; return what it receives, now or later."""
        return self.poll_at(Cursor(epoch, seq, acked), uid)

    def poll_at(self, cursor: Cursor, uid: bytes | None = None) -> FakeReply:
        """Let a client poll with a cursor that it was given."""
        uid = self.uid if uid is None else uid
        reply = FakeReply()
        self.dispatcher.poll(reply, uid, cursor)
        return reply

    def run_slice(self) -> None:
        """Let the next slice of a fan-out have its turn, if there is one."""
        if self.needs.slices:
            self.needs.slices -= 1
            self.dispatcher.answer_woken()

    def run_slices(self) -> None:
        """Let a fan-out come to its end."""
        while self.needs.slices:
            self.run_slice()

    def publish(self, path: str, message: str = "", *, seq: int | None = None) -> int:
        """Let the next event come; return its sequence."""
        seq = self.ring.head + 1 if seq is None else seq
        self.dispatcher.deliver(event(seq, path, message))
        return seq


def event(seq: int, path: str = "tasks", message: Any = "") -> Event:
    """Return an event."""
    return Event(seq=seq, path=path, message=str(message).encode(), committed_ns=0)
