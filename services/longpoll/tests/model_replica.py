"""A replica of the model: a dispatcher, what has not reached it yet, and how it catches up.

It follows the stream as `follower.Follower` does, reads it as `replay.Replayer` does and looks up records as
`lookups.Lookups` does. Each of their steps is a call of its own, so that the test decides what happens between them.
"""

from collections import deque
from dataclasses import dataclass

from roots.contracts.uids import Uids
from roots_longpoll.delivery.dispatcher import PollDispatcher
from roots_longpoll.delivery.grants import GrantsView
from roots_longpoll.delivery.poll import AnyNeed, Limits, Need, NeedRecords, NeedReplay, Poll, Replay
from roots_longpoll.delivery.ring import Event, Ring, cut
from roots_longpoll.delivery.stats import Stats

from .dispatcher_support import UID_KEY, event
from .model_truth import NO_PATH, Account, Place, Truth

RING_BYTES = event(100, "a", "100").cost_bytes * 5
LIMITS = Limits(hold_seconds=25.0, max_held=3, max_updates=3, max_answer_bytes=400)
MAX_FILL = 9
"""A replica that is so many events behind starts again."""
PRELOAD = 2


@dataclass(frozen=True)
class Record:
    """A record on its way to a replica. Shape: n is its number, None when there is none, or no more."""

    uid: bytes
    raw: bytes
    revision: int
    n: int | None
    expires: float


@dataclass(frozen=True)
class Lookup:
    """A question for a record, and the store's answer."""

    poll: Poll
    record: Record
    times_voided: int


@dataclass(frozen=True)
class Reading:
    """A reading of the stream, which polls may share. Shape: events are all that were found up to `upto`."""

    starts: tuple[tuple[str, int], ...]
    epoch: int
    events: list[Event]
    upto: int


@dataclass(frozen=True)
class Extent:
    """The stream as a replica has asked for it."""

    epoch: int
    first: int
    head: int


class Needs:
    """Keeps what the dispatcher needs, with what is true when it does."""

    def __init__(self, truth: Truth, ring: Ring, view: GrantsView) -> None:
        self.lookups: list[Lookup] = []
        self.replays: list[tuple[NeedReplay, Reading]] = []
        self.slices = 0
        self.is_head_asked = False
        self._truth = truth
        self._ring = ring
        self._view = view

    def take(self, need: AnyNeed) -> None:
        """Begin what is needed."""
        match need:
            case NeedRecords(polls=polls):
                for poll in polls:
                    self.look_up(poll)
            case NeedReplay():
                self._replay(need)
            case Need.HEAD_CHECK:
                self.is_head_asked = True
            case Need.NEXT_SLICE:
                self.slices += 1

    def look_up(self, poll: Poll) -> None:
        """Read the record."""
        self.lookups.append(Lookup(poll, record_of(poll.uid, self._truth.accounts[poll.uid]), self._view.times_voided))

    def _replay(self, need: NeedReplay) -> None:
        """Read the log up to the ring's tail, or share a reading of another poll."""
        epoch = self._ring.epoch
        shared = [one for _, one in self.replays if (one.epoch, one.starts) == (epoch, need.starts)]
        self.replays.append((need, shared[0] if shared else self._read(epoch, need.starts)))

    def asks_for(self, poll: Poll) -> bool:
        """Tell whether something is being asked for `poll`."""
        return any(one.poll is poll for one in self.lookups) or any(one.poll is poll for one, _ in self.replays)

    def _read(self, epoch: int, starts: tuple[tuple[str, int], ...]) -> Reading:
        log, upto = self._truth.log, self._ring.tail
        events: list[Event] = []
        for path, after in starts:
            found = [one for one in log.between(after, log.head) if one.path == path]
            if len(found) > LIMITS.max_updates + 1:
                found = found[: LIMITS.max_updates + 1]
                upto = min(upto, found[-1].seq)
            events += found
        events = sorted((one for one in events if one.seq <= upto), key=lambda one: one.seq)
        return Reading(starts, epoch, events, upto)


class Replica:
    """A dispatcher, and what has not reached it yet.

    Shape: place is up to where it has taken in the stream; known has the newest record of each uid that came to it,
        promised the revision of the record that has to come to it, as it was asked for.
    """

    def __init__(self, truth: Truth, preload: int) -> None:
        self._truth = truth
        self.ring = Ring(RING_BYTES)
        self.view = GrantsView(1000)
        self.needs = Needs(truth, self.ring, self.view)
        self.dispatcher = PollDispatcher(
            ring=self.ring, view=self.view, uids=Uids(UID_KEY), stats=Stats(), limits=LIMITS, need=self.needs.take
        )
        self.events: deque[tuple[int, Event]] = deque()
        self.records: deque[Record] = deque()
        self.known: dict[bytes, Record] = {}
        self.promised: dict[bytes, int] = {}
        self.reconciling: Extent | None = None
        self.is_stale = False
        self.is_releasing = False
        self.is_failing = False
        self.ticked_at = truth.clock.now
        self.begin(preload)

    @property
    def is_quiet(self) -> bool:
        """Whether it waits for nothing but events and records."""
        needs = self.needs
        return not (self.is_stale or needs.slices or needs.is_head_asked or self.reconciling)

    @property
    def is_at_head(self) -> bool:
        """Whether it has taken in the whole stream."""
        return self.place == (self._truth.epoch, self._truth.log.head)

    def take_event(self) -> None:
        """Let the next event come, and repair what was lost before it."""
        epoch, next_event = self.events.popleft()
        is_other = epoch != self.place.epoch or next_event.seq <= self.place.seq
        hole = range(self.place.seq + 1, next_event.seq)
        if is_other or (hole and (epoch != self._truth.epoch or hole[0] < self._truth.log.first)):
            self.needs.is_head_asked = True
            return
        self._fill(hole.stop - 1)
        self._deliver(next_event)

    def lose_events(self, count: int) -> None:
        """Lose the next events on their way."""
        for _ in range(min(count, len(self.events))):
            self.events.popleft()

    def take_record(self) -> None:
        """Let the next record come on the live way."""
        record = self.records.popleft()
        self._learn(record)
        self.dispatcher.grants_known(record.uid, self.view.apply(record.uid, record.raw, record.revision))

    def expect(self, uid: bytes) -> None:
        """Note that the record of `uid` as it is now will come."""
        self.records.append(record_of(uid, self._truth.accounts[uid]))

    def lose_records(self) -> None:
        """Keep only the last record of each uid, as the bucket does, for what is repaired from there."""
        last = {record.uid: record for record in self.records}
        self.records = deque(last.values())

    def take_lookup(self, which: int) -> None:
        """Let the store answer one of the questions."""
        lookups = self.needs.lookups
        lookup = lookups.pop(which % len(lookups))
        poll, record = lookup.poll, lookup.record
        if lookup.times_voided != self.view.times_voided:
            self.needs.look_up(poll)
            return
        self._learn(record)
        uid, raw, revision = record.uid, record.raw, record.revision
        known = self.view.apply(uid, raw, revision) if revision else self.view.note_absent(uid)
        self.dispatcher.grants_found(poll, known)

    def fail_lookup(self, which: int) -> None:
        """Let one of the questions have no answer in time; it is asked again."""
        self._fail(self.needs.lookups[which % len(self.needs.lookups)].poll)

    def take_replay(self, which: int) -> None:
        """Let one of the replays end."""
        replays = self.needs.replays
        need, reading = replays.pop(which % len(replays))
        first = self._truth.log.first
        replay = Replay(
            backlog=cut(reading.events, reading.upto, LIMITS.max_updates, LIMITS.max_answer_bytes),
            expired=tuple(path for path, after in reading.starts if after + 1 < first),
            epoch=self._truth.epoch,
        )
        self.dispatcher.replayed(need, replay)

    def fail_replay(self, which: int) -> None:
        """Let one of the replays fail."""
        need, _ = self.needs.replays.pop(which % len(self.needs.replays))
        self._fail(need.poll)

    def begin_reconciling(self) -> None:
        """Ask for the stream's extent."""
        self.needs.is_head_asked = False
        self.reconciling = Extent(self._truth.epoch, self._truth.log.first, self._truth.log.head)

    def end_reconciling(self) -> None:
        """Catch up with the stream as it was when it was asked for."""
        assert self.reconciling is not None
        extent, self.reconciling = self.reconciling, None
        if extent.epoch != self._truth.epoch:
            self.needs.is_head_asked = True
            return
        behind = extent.head - self.place.seq
        if extent.epoch != self.place.epoch or self._truth.log.first > self.place.seq + 1 or behind > MAX_FILL:
            self.begin()
        else:
            self._fill(extent.head)
        self.dispatcher.head_checked()

    def forget_grants(self) -> None:
        """Begin again with the records; what is on its way is lost."""
        for poll in self.dispatcher.held.polls:
            self.promised[poll.uid] = self._truth.accounts[poll.uid].revision
        self.view.clear()
        self.records.clear()
        self.dispatcher.forget_grants()

    def set_stale(self, *, is_stale: bool) -> None:
        """Lose or regain the trust in what it knows."""
        self.is_stale = is_stale
        self.dispatcher.set_stale(is_stale=is_stale)

    def tick(self) -> None:
        """End the holds that are due."""
        self.ticked_at = self._truth.clock.now
        self.dispatcher.tick()

    def release(self) -> None:
        """Send the held polls elsewhere."""
        self.is_releasing = True
        for poll in self.dispatcher.held.polls:
            self.dispatcher.release(poll)
        self.is_releasing = self.dispatcher.is_draining

    def _fail(self, poll: Poll) -> None:
        self.is_failing = True
        self.dispatcher.unavailable(poll, "late")
        self.is_failing = False

    def begin(self, preload: int = PRELOAD) -> None:
        """Begin with the stream as it is, with so many of its latest events."""
        log = self._truth.log
        after = max(log.first - 1, log.head - preload, 0)
        self.place = Place(self._truth.epoch, log.head)
        events = [one for one in log.between(after, log.head) if one.path != NO_PATH]
        self.dispatcher.begin(self._truth.epoch, after, events, log.head)

    def _fill(self, upto: int) -> None:
        for one in self._truth.logs[self.place.epoch].between(self.place.seq, upto):
            self._deliver(one)

    def _deliver(self, one: Event) -> None:
        self.place = self.place._replace(seq=one.seq)
        if one.path == NO_PATH:
            self.dispatcher.skip_to(one.seq)
        else:
            self.dispatcher.deliver(one)

    def _learn(self, record: Record) -> None:
        known = self.known.get(record.uid)
        if known is None or record.revision > known.revision:
            self.known[record.uid] = record


def record_of(uid: bytes, account: Account) -> Record:
    """Return the record of `uid` as it is stored now."""
    return Record(uid, account.raw, account.revision, account.n if account.expires else None, account.expires)
