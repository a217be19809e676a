"""A client of the model: it believes what it receives, and everything that is sent to it is checked as it leaves.

Checked is each answer, also one that will be lost or that went to a connection long gone: an answer that is wrong is
wrong whoever reads it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from roots_longpoll.delivery.cursor import Cursor
from roots_longpoll.delivery.poll import Poll
from roots_longpoll.delivery.ring import update_of

from .dispatcher_support import Answer, FakeReply
from .model_replica import LIMITS, Replica
from .model_truth import PATHS, Account, Heard, Place, Truth, Version

# Time goes by in ticks of a quarter of a second.
SHORTEST_HOLD_SECONDS = 0.8 * LIMITS.hold_seconds - 0.25


@dataclass(eq=False)
class Reply(FakeReply):
    """A reply that is checked as it leaves."""

    check: Callable[[Answer], None] = lambda _: None
    check_refusal: Callable[[], None] = lambda: None

    def answer(self, body: bytes) -> None:
        """Check and keep an answer."""
        assert not self.is_done, "a request is answered once"
        super().answer(body)
        self.check(self.only)

    def refuse(self, status: int, detail: str, retry_after_seconds: int) -> None:
        """Check and keep a refusal."""
        assert not self.is_done, "a request is answered once"
        super().refuse(status, detail, retry_after_seconds)
        self.check_refusal()


@dataclass(frozen=True)
class Position:
    """What a client knows. Shape: received is what it was told of, or told that it may have missed."""

    uid: bytes
    cursor: Cursor
    received: Heard

    @property
    def place(self) -> Place:
        """Where it is in the log."""
        return Place(*self.cursor[:2])


@dataclass(eq=False)
class Request:
    """One poll, and the check of what answers it."""

    truth: Truth
    replica: Replica
    asked: Position
    account: Account
    began: float
    ends_before: int
    reply: Reply = field(default_factory=Reply)
    poll: Poll | None = None
    is_superseded: bool = False
    then: Position | None = None
    """What the client knows once it has the answer."""

    def __post_init__(self) -> None:
        self.reply.check = self._check
        self.reply.check_refusal = self._check_refusal

    @property
    def is_due(self) -> bool:
        """Whether its hold may be over."""
        return self.replica.ticked_at - self.began >= SHORTEST_HOLD_SECONDS

    @property
    def is_overdue(self) -> bool:
        """Whether its hold has to be over."""
        return self.replica.ticked_at - self.began > LIMITS.hold_seconds

    def check_held(self) -> None:
        """Check that a poll that is held has nothing to receive, once its replica has nothing left to do for it."""
        replica, asked = self.replica, self.asked
        if self.reply.is_done or self.poll is None or not replica.is_quiet or replica.needs.asks_for(self.poll):
            return
        assert not self.is_overdue, "I7: a hold ends"
        assert not replica.dispatcher.is_draining, "I8: nobody is held by a replica that goes away"
        known = replica.known.get(asked.uid)
        revision = 0 if known is None else known.revision
        assert revision >= replica.promised.get(asked.uid, 0), "I5: what may be wrong is asked for"
        if known is None or known.n is None:
            assert not asked.cursor.grants, "a client whose record has ended is sent away"
            is_behind = asked.place <= replica.place and asked.cursor.epoch == replica.place.epoch
            assert is_behind, "a client that receives nothing takes up the cursor of now"
            return
        if known.expires <= self.truth.clock.now:
            assert known.expires > self.began or not asked.cursor.grants, "I5: a record that has ended is asked for"
            return
        version = self.account.versions[known.n]
        assert known.n == asked.cursor.grants, "a change of the grants is reported at once"
        assert replica.place.epoch == asked.cursor.epoch, "I9: a stream that started again is reported at once"
        assert self.truth.owed(version, replica.place) <= asked.received, "I4: a held poll has what its replica has"

    def _check_refusal(self) -> None:
        is_full = len(self.replica.dispatcher.held) >= LIMITS.max_held
        assert is_full or self.replica.is_failing, "I7: a poll is refused only when something is in the way"

    def _check(self, answer: Answer) -> None:
        asked = self.asked
        is_draining = self.replica.is_releasing
        assert is_draining or answer.retry is None, "only a drain asks clients to wait"
        if answer.uid != asked.uid:
            self._check_renewal(answer)
            return
        is_empty = not (answer.updates or answer.gaps)
        if is_empty:
            # Without a path a new log or number is no gap and no update, but the client has to take it up.
            live = self.account.versions.get(answer.cursor.grants, Version()).live(self.truth.clock.now)
            is_moved = not live or answer.cursor.grants > asked.cursor.grants
            may_end = self.is_superseded or self.is_due or is_draining or is_moved
            assert may_end, "a poll that has nothing to receive is held"
        if is_empty and answer.cursor == asked.cursor:
            self.then = asked
            return
        assert is_empty or not self.replica.is_stale, "I5: nothing is told by a replica that may be wrong"
        version = self._check_grants(answer)
        told = self._check_events(answer, version)
        spared = self._check_gaps(answer, version)
        self._check_position(answer, version)
        self._check_size(answer)
        received = asked.received | told | spared
        place = Place(*answer.cursor[:2])
        if "epoch" in {reason for _, reason in answer.gaps}:
            received = frozenset(one for one in received if one <= place)
        missing = self.truth.owed(version, place) - received
        assert not missing, "I1: an event is missing, and no gap was reported"
        self.then = Position(asked.uid, answer.cursor, received)

    def _check_renewal(self, answer: Answer) -> None:
        assert [] == answer.updates == answer.gaps
        has_ended = self.account.ends > self.ends_before or not self.truth.is_live(self.account)
        assert has_ended, "a client whose record lives is not sent away"
        assert answer.cursor == (*self.replica.place, 0), "a client begins with the cursor of now"
        self.truth.accounts[answer.uid] = Account()
        self.then = Position(answer.uid, answer.cursor, frozenset())

    def _check_grants(self, answer: Answer) -> Version:
        told, n = self.asked.cursor.grants, answer.cursor.grants
        known = self.replica.known.get(self.asked.uid)
        newest = {0} if known is None else {known.n or 0}
        if known is not None and known.expires <= self.truth.clock.now:
            newest.add(0)
        if not (answer.updates or answer.gaps):
            newest.add(told)
        assert n in newest, "I5: the newest record that came counts"
        version = self.account.versions[n]
        # Of a path that ended meanwhile the client may receive that it was granted, but no event.
        numbers = {(path, message): n for n, path, message in version.changes(told, 0.0)}
        due = {(path, message) for _, path, message in version.changes(told, self.truth.clock.now)}
        updates = [one for one in answer.updates if not is_event(*one)]
        assert updates == answer.updates[: len(updates)], "changes of the grants come before events"
        assert due <= set(updates) <= set(numbers), "I3: changes of the grants are repeated until they are acknowledged"
        order = [numbers[one] for one in updates]
        assert order == sorted(order), "changes of the grants come in order"
        assert len(updates) == len(set(updates)), "each change is reported once"
        return version

    def _check_events(self, answer: Answer, version: Version) -> Heard:
        cursor, (epoch, seq, _) = self.asked.cursor, answer.cursor
        now = self.truth.clock.now
        known = self.replica.known.get(self.asked.uid)
        live = version.live(now) if known is not None and now < known.expires else {}
        log = self.truth.logs[epoch]
        told = []
        for path, message in answer.updates:
            if not is_event(path, message):
                continue
            one = int(message.rstrip("."))
            assert path in live, "I5: no event without a grant"
            start = live[path].start_in(epoch)
            assert start is not None, "I5: no event of a log before the grant's"
            assert one > start, "I5: a grant begins at its from"
            assert log.events[one - 1].update == update_of(path, message.encode()), "an event is told as it was"
            if cursor.epoch == epoch and live[path].since <= cursor.grants:
                assert one > cursor.seq, "I2: the cursor acknowledged this"
            told.append(Place(epoch, one))
        assert told == sorted(set(told)), "I2: sequences ascend"
        assert not told or told[-1].seq <= seq, "I2: the next cursor acknowledges what was told"
        return frozenset(told)

    def _check_gaps(self, answer: Answer, version: Version) -> Heard:
        cursor = self.asked.cursor
        live = version.live(self.truth.clock.now)
        for path, reason in answer.gaps:
            one = version.paths[path]
            log = self.truth.logs[answer.cursor.epoch]
            if reason == "epoch":
                assert cursor.epoch != answer.cursor.epoch or cursor.seq > log.head, "I9: no gap without a loss"
                continue
            start = one.start_in(cursor.epoch) or 0
            after = start if cursor.grants < one.since else max(start, cursor.seq)
            assert (reason, cursor.epoch) == ("expired", answer.cursor.epoch)
            assert after + 1 < log.first, "no gap without a loss"
        paths = {path for path, _ in answer.gaps}
        assert len(paths) == len(answer.gaps)
        if "epoch" in {reason for _, reason in answer.gaps}:
            assert set(live) <= paths, "I9: the position is lost on all paths"
        return self.truth.owed(version, Place(*answer.cursor[:2]), paths)

    def _check_position(self, answer: Answer, version: Version) -> None:
        asked, (epoch, seq, _) = self.asked, answer.cursor
        assert (epoch, seq) <= self.replica.place, "a position is not ahead of the replica"
        is_new = any(one.since > asked.cursor.grants for one in version.paths.values())
        is_lost = any(reason == "epoch" for _, reason in answer.gaps) or not (
            asked.cursor.grants and version.live(self.truth.clock.now)
        )
        if asked.cursor.epoch != epoch:
            assert is_lost, "I9: a position in another log is reported"
        assert is_new or is_lost or seq >= asked.cursor.seq, "a position goes on"

    def _check_size(self, answer: Answer) -> None:
        events = [one for one in answer.updates if is_event(*one)]
        size = sum(len(update_of(path, message.encode())) for path, message in answer.updates)
        assert len(answer.updates) <= LIMITS.max_updates or not events, "I7: an answer has a number of updates at most"
        assert size <= LIMITS.max_answer_bytes or len(events) <= 1, "I7: an answer has a size at most"


class Listener:
    """A client."""

    def __init__(self, truth: Truth, replica: Replica) -> None:
        self._truth = truth
        reply = FakeReply()
        replica.dispatcher.welcome(reply)
        uid = reply.only.uid
        truth.accounts[uid] = Account()
        self.position = Position(uid, reply.only.cursor, frozenset())
        self.past: list[Position] = []
        self.waiting: Request | None = None
        self._requests: list[Request] = []

    @property
    def uid(self) -> bytes:
        """The uid it has now."""
        return self.position.uid

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer to receive."""
        return self.waiting is not None and self.waiting.reply.is_done

    def poll(self, replica: Replica) -> None:
        """Poll with the cursor; an older poll of this client is left to its replica."""
        truth, asked = self._truth, self.position
        account = truth.accounts[asked.uid]
        request = Request(truth, replica, asked, account, truth.clock.now, account.ends)
        for older in self._requests:
            older.is_superseded |= older.replica is replica and older.asked.uid == asked.uid
        request.poll = replica.dispatcher.poll(request.reply, asked.uid, asked.cursor)
        assert (request.poll is None) == request.reply.is_done
        self.waiting = request
        self._requests = [one for one in [*self._requests, request] if not one.reply.is_done]

    def receive(self) -> bool:
        """Believe the answer; tell whether there was one that has a new uid."""
        assert self.waiting is not None
        then, self.waiting = self.waiting.then, None
        if then is None:
            return False
        is_new = then.uid != self.uid
        self.past = [] if is_new else [*self.past, self.position]
        self.position = then
        return is_new

    def hang_up(self) -> None:
        """Cut the connection, and read no answer."""
        if self.waiting is not None and self.waiting.poll is not None:
            self.waiting.replica.dispatcher.abandon(self.waiting.poll)
        self.waiting = None

    def forget_older(self) -> None:
        """Cut the connections of all requests but the last."""
        for request in self._requests:
            if request is not self.waiting and request.poll is not None:
                request.replica.dispatcher.abandon(request.poll)

    def claim(self, count: int) -> None:
        """Poll with a cursor that nobody was given, so many positions ahead of the log."""
        epoch, grants = self._truth.epoch, self.position.cursor.grants
        head = self._truth.log.head + count
        received = self.position.received | {Place(epoch, seq) for seq in range(1, head + 1)}
        self.position = Position(self.uid, Cursor(epoch, head, grants), received)

    def go_back(self, back: int) -> None:
        """Take up an older cursor, as if the answers since were lost."""
        if self.past:
            self.position = self.past[-1 - back % len(self.past)]


def is_event(path: str, message: str) -> bool:
    """Tell whether an update is an event, and no change of the grants."""
    return path in PATHS and message != ""
