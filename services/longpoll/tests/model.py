"""A model of everything around a desk, simple enough to be right: the stream, the store of records, replicas, clients.

The truth is one full log and one list of records by number; a replica hears of both late, in order; a client believes
what it received and checks every answer against the truth.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

from roots_longpoll.cursor import Cursor, render
from roots_longpoll.grants import Client
from roots_longpoll.poll import Limits, Poll, Replay
from roots_longpoll.ring import Event, cut

from .desk_support import EPOCH, Answer, FakeOutside, FakeReply, Office, event, record

RING_BYTES = event(100, "a", "100").cost_bytes * 4
LIMITS = Limits(max_updates=3)
Place = tuple[int, int]
"""An event, or a position: epoch and sequence."""


class Granted(TypedDict):
    """One path of a record. A dict, since that is what a record is made of."""

    start: int
    n: int
    since: int
    epoch: int


@dataclass
class Account:
    """The truth of one uid: its record after each change."""

    n: int = 0
    revision: int = 0
    gone: dict[str, int] = field(default_factory=dict)
    versions: list[dict[str, Granted]] = field(default_factory=lambda: [{}])

    @property
    def raw(self) -> bytes:
        """The record as it is stored now; empty before the first change."""
        if not self.n:
            return b""
        paths = {
            path: {"from": one["start"], **{key: value for key, value in one.items() if key != "start"}}
            for path, one in self.versions[-1].items()
        }
        return record(self.n, paths, gone=self.gone)  # type: ignore[arg-type]  # a TypedDict's values are of any type

    def change(self, paths: dict[str, Granted], revision: int) -> None:
        """Store the next version."""
        self.versions.append(paths)
        self.revision = revision


class Truth:
    """The stream and the records. Shape: log is of this epoch; what is below `first` is gone from the stream."""

    def __init__(self) -> None:
        self.epoch = EPOCH
        self.log: list[Event] = []
        self.first = 1
        self.accounts: dict[bytes, Account] = {}
        self._revision = 0

    @property
    def head(self) -> int:
        """The last sequence."""
        return len(self.log)

    def publish(self, path: str) -> Event:
        """Store an event whose message names it."""
        self.log.append(event(self.head + 1, path, self.head + 1))
        return self.log[-1]

    def connect(self, uid: bytes, path: str) -> None:
        """Grant a path from now on, or confirm it again."""
        account = self.accounts[uid]
        account.n += 1
        paths = dict(account.versions[-1])
        held = paths.get(path)
        fresh = Granted(start=self.head, n=account.n, since=account.n, epoch=self.epoch)
        paths[path] = fresh if held is None else {**held, "n": account.n}
        account.gone.pop(path, None)
        self._store(account, paths)

    def disconnect(self, uid: bytes, path: str) -> None:
        """Withdraw a path."""
        account = self.accounts[uid]
        if path not in account.versions[-1]:
            return
        account.n += 1
        account.gone[path] = account.n
        self._store(account, {key: one for key, one in account.versions[-1].items() if key != path})

    def _store(self, account: Account, paths: dict[str, Granted]) -> None:
        self._revision += 1
        account.change(paths, self._revision)

    def owed(self, version: dict[str, Granted], upto: Place) -> set[tuple[str, Place]]:
        """Return the events that a client with `version` has to have heard of once its position is `upto`."""
        epoch, seq = upto
        if epoch != self.epoch:
            return set()
        starts = {path: one["start"] if one["epoch"] == epoch else 0 for path, one in version.items()}
        return {
            (one.path, (epoch, one.seq)) for one in self.log[:seq] if one.path in starts and one.seq > starts[one.path]
        }


class Outside(FakeOutside):
    """Answers from the truth, as it was when it was asked; the test says when."""

    def __init__(self, truth: Truth, ask: Callable[[Poll], None]) -> None:
        super().__init__()
        self._truth = truth
        self._ask = ask
        self.readings: list[tuple[Poll, Replay, Client]] = []
        self.tail: Callable[[], int] = int

    def look_up(self, poll: Poll) -> None:
        """Read the record."""
        self._ask(poll)

    def replay(self, poll: Poll, starts: list[tuple[str, int]]) -> None:
        """Read the log up to the ring's tail."""
        truth, tail = self._truth, self.tail()
        wanted = dict(starts)
        events = [one for one in truth.log[truth.first - 1 : tail] if one.path in wanted and one.seq > wanted[one.path]]
        expired = tuple(path for path, after in starts if after + 1 < truth.first)
        backlog = cut(events, tail, LIMITS.max_updates, LIMITS.max_answer_bytes)
        assert isinstance(poll.client, Client)
        self.readings.append((poll, Replay(backlog=backlog, expired=expired, epoch=truth.epoch), poll.client))


class Replica:
    """A desk, and what has not reached it yet."""

    def __init__(self, truth: Truth, preload: int) -> None:
        self._truth = truth
        self.office = Office(ring_bytes=RING_BYTES, limits=LIMITS)
        self.desk = self.office.desk
        self.outside = Outside(truth, self._ask)
        self.outside.tail = lambda: self.office.ring.tail
        self.desk._outside = self.desk._fanout._outside = self.outside
        self.events: deque[Event] = deque()
        self.records: deque[tuple[bytes, bytes, int, int]] = deque()
        self.answers: list[tuple[Poll, bytes, int, int, int]] = []
        self.known: dict[bytes, int] = {}
        self.reconciling: int | None = None
        self.begin(preload)

    def begin(self, preload: int) -> None:
        """Begin with the stream as it is, with so many of its latest events."""
        truth = self._truth
        after = max(truth.first - 1, truth.head - preload, 0)
        self.events.clear()
        self.reconciling = None
        self.desk.begin(truth.epoch, after, truth.log[after:], truth.head)

    def _ask(self, poll: Poll) -> None:
        account = self._truth.accounts[poll.uid]
        self.answers.append((poll, account.raw, account.revision, account.n, self.office.view.times_cleared))

    def take_event(self) -> None:
        """Let the next event come."""
        self.desk.deliver(self.events.popleft())

    def take_record(self) -> None:
        """Let the next record come on the live way."""
        uid, raw, revision, n = self.records.popleft()
        self.known[uid] = max(n, self.known.get(uid, 0))
        self.desk.grants_known(uid, self.office.view.apply(uid, raw, revision))

    def take_answer(self, which: int) -> None:
        """Let the store answer one of the questions."""
        poll, raw, revision, n, times_cleared = self.answers.pop(which % len(self.answers))
        view = self.office.view
        if times_cleared != view.times_cleared:
            self._ask(poll)
            return
        uid = poll.uid
        self.known[uid] = max(n, self.known.get(uid, 0))
        self.desk.grants_found(poll, view.apply(uid, raw, revision) if raw else view.note_absent(uid))

    def take_reading(self, which: int) -> None:
        """Let one of the replays end."""
        self.desk.replayed(*self.outside.readings.pop(which % len(self.outside.readings)))

    def end_reconciling(self) -> None:
        """Catch up with the stream's end as it was when reconciling began."""
        assert self.reconciling is not None
        while self.events and self.events[0].seq <= self.reconciling:
            self.take_event()
        self.reconciling = None
        self.desk.head_checked()


@dataclass
class Reply(FakeReply):
    """A reply whose answers are checked as they leave."""

    check: Callable[[Answer], None] = lambda _: None

    def answer(self, body: bytes) -> None:
        """Check and keep an answer."""
        super().answer(body)
        self.check(self.answers[-1])


class Listener:
    """A client. Shape: heard are the events that it was told of or that a gap spared it, at its cursor."""

    def __init__(self, truth: Truth, replica: Replica) -> None:
        self._truth = truth
        reply = FakeReply()
        replica.desk.welcome(reply)
        self.uid = reply.only.uid
        truth.accounts[self.uid] = Account()
        self.cursor = reply.only.cursor
        self.heard: frozenset[tuple[str, Place]] = frozenset()
        self.past: list[tuple[Cursor, frozenset[tuple[str, Place]]]] = []
        self.waiting: tuple[Reply, Replica, Poll | None] | None = None

    def poll(self, replica: Replica) -> None:
        """Poll with the cursor; an older poll of this client is left to the server."""
        cursor = self.cursor
        reply = Reply(check=lambda answer: self._check(answer, cursor, replica))
        poll = replica.desk.poll(reply, self.uid, cursor, self.uid + b"/" + render(cursor))
        self.waiting = (reply, replica, poll)

    def receive(self) -> None:
        """Believe the answer."""
        assert self.waiting is not None
        reply, _, _ = self.waiting
        self.waiting = None
        if reply.refusals:
            return
        answer = reply.only
        self.past.append((self.cursor, self.heard))
        upto = answer.cursor[:2]
        told = {(path, (upto[0], int(message))) for path, message in answer.updates if message.isdecimal()}
        version = self._truth.accounts[self.uid].versions[answer.cursor.grants]
        gaps = {path for path, _ in answer.gaps}
        spared = {one for one in self._truth.owed(version, upto) if one[0] in gaps}
        self.heard |= told | spared
        self.cursor = answer.cursor
        assert self._truth.owed(version, upto) <= self.heard, "I1: an event is missing and no gap was reported"

    def _check(self, answer: Answer, cursor: Cursor, replica: Replica) -> None:
        """Check what holds of each answer, also of one that will be lost."""
        assert self.uid == answer.uid, "the record exists, so the client must not be sent away"
        account = self._truth.accounts[self.uid]
        known = replica.known.get(self.uid, 0)
        assert answer.cursor.grants <= known or answer.cursor == cursor
        seqs = [int(message) for _, message in answer.updates if message.isdecimal()]
        assert sorted(set(seqs)) == seqs, "I2: sequences ascend"
        version = account.versions[answer.cursor.grants]
        for path, message in answer.updates:
            if message.isdecimal():
                self._check_event(version.get(path), int(message), cursor, answer.cursor.epoch)
        for path, reason in answer.gaps:
            assert path in version
            assert reason == "expired" or cursor.epoch != self._truth.epoch, "no gap without a loss"
        if cursor.grants < answer.cursor.grants:
            changed = {path for path, one in version.items() if one["n"] > cursor.grants}
            confirmed = {path for path, message in answer.updates if message == ""}
            assert changed == confirmed, "confirmations repeat until acknowledged"

    def _check_event(self, granted: Granted | None, seq: int, cursor: Cursor, epoch: int) -> None:
        assert granted is not None, "I5: no event without a grant"
        if granted["epoch"] == epoch:
            assert seq > granted["start"], "I5: a grant begins at its from"
        if cursor.epoch == epoch and cursor.grants >= granted["since"]:
            assert seq > cursor.seq, "I2: the cursor acknowledged this"
