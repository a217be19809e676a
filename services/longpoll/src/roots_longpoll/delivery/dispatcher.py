"""The dispatcher: registers a poll, checks what is there, holds it, answers it.

A poll registers before its backlog is read, so that no event falls between (I4). Nothing is kept for a client that its
next request could not rebuild from the cursor (I3, I6). The dispatcher knows no socket and never blocks. What it needs
read elsewhere it hands to `need`, and the result comes back as a call. One event loop owns it.
Source: docs/how-a-poll-works.md.
"""

import random
import time
from collections.abc import Callable, Collection, Sequence

from roots.contracts.uids import Uids
from roots_longpoll.delivery.cursor import Cursor
from roots_longpoll.delivery.fanout import Fanout
from roots_longpoll.delivery.grants import UNKNOWN, ClientGrants, GrantsView, MaybeClient, Unknown
from roots_longpoll.delivery.held import HeldPolls
from roots_longpoll.delivery.holds import Holds
from roots_longpoll.delivery.poll import AnyNeed, Limits, Need, NeedRecords, NeedReplay, Poll, Replay, Reply
from roots_longpoll.delivery.response_builder import ResponseBuilder
from roots_longpoll.delivery.responses import GapReason
from roots_longpoll.delivery.ring import Event, Ring, cut
from roots_longpoll.delivery.states import TABLE, State, Step
from roots_longpoll.delivery.stats import Outcome, Stats

# Clients sent away by a drain come back spread over this time, so that the other replicas are not hit at once.
DRAIN_RETRY_MS = (100, 1500)
RETRY_AFTER_SECONDS = 1


class PollDispatcher:
    """All polls of one replica, and what wakes them.

    Shape: held has those that wait. need takes what has to be done elsewhere, and must not call the dispatcher itself.
        client_of returns the grants of a uid that polled lately, None when nothing is known.
    """

    def __init__(
        self, *, ring: Ring, view: GrantsView, uids: Uids, stats: Stats, limits: Limits, need: Callable[[AnyNeed], None]
    ) -> None:
        self.stats = stats
        self.is_draining = False
        self.client_of = view.recent
        self._limits = limits
        self._ring = ring
        self._view = view
        self._uids = uids
        self._need = need
        self._is_stale = False
        self.held = HeldPolls()
        self._responses = ResponseBuilder(ring=ring, uids=uids, stats=stats, limits=limits)
        self._holds = Holds(limits.hold_seconds)
        self._fanout = Fanout(ring=ring, limits=limits, stats=stats, held=self.held)

    # What clients ask

    def welcome(self, reply: Reply) -> None:
        """Begin a client: answer at once with a new uid and the cursor of now."""
        reply.answer(self._responses.welcome())

    def accepts(self, uid: bytes) -> bool:
        """Return whether `uid` was minted by this system and has not expired."""
        # A uid that has a record was verified when the record was written.
        return isinstance(self._view.get(uid), ClientGrants) or self._uids.is_valid(uid.decode("latin-1"))

    def poll(self, reply: Reply, uid: bytes, cursor: Cursor, found: ClientGrants | None = None) -> Poll | None:
        """Answer the poll of `uid` at `cursor`, now or when there is news; `found` is what `client_of` has of it.

        Return the poll while it waits, None when it has been answered; one of a uid that is not accepted is welcomed.
        """
        client: MaybeClient | Unknown = found
        if client is None:
            client = self._view.get(uid)
            if not isinstance(client, ClientGrants) and not self._uids.is_valid(uid.decode("latin-1")):
                self.welcome(reply)
                return None
        by_uid = self.held.by_uid
        older = by_uid.get(uid)
        if older is not None:
            self.finish_early(older)
        if len(by_uid) >= self._limits.max_held:
            self.stats.refusals["full"] += 1
            reply.refuse(503, "The replica holds as many polls as it may.", RETRY_AFTER_SECONDS)
            return None
        ring = self._ring
        epoch, seq, acked = cursor
        began = time.monotonic()
        due = began + self._holds.next_seconds()
        # Most polls are of clients that know all there is, and just wait.
        if (
            client is not UNKNOWN
            and client is not None
            and seq == ring.head
            and acked == client.version
            and epoch == ring.epoch
            and not (self._is_stale or self.is_draining)
            and time.time() < client.ends_at
        ):
            # All polls share one int object of the epoch: it takes memory for each otherwise.
            poll = by_uid[uid] = Poll(reply, uid, ring.epoch, seq, acked, began, due, client, State.HELD)
            if client.report != self._view.report:
                self._view.note_served(uid, client)
            self.held.listen(poll, client.paths)
            return poll
        # Equal epochs become one object here, too.
        poll = by_uid[uid] = Poll(reply, uid, ring.epoch if epoch == ring.epoch else epoch, seq, acked, began, due)
        if client is UNKNOWN:
            poll.state = TABLE[poll.state][Step.RECORD_NEEDED]
            self._need(NeedRecords((poll,)))
        else:
            poll.client = client
            self._consider(poll)
        return None if poll.state is State.DONE else poll

    def abandon(self, poll: Poll) -> None:
        """Forget a poll whose client has left; what it was not sent, its next poll will find."""
        if Step.ABANDONED in TABLE[poll.state]:
            self._close(poll, Outcome.GONE)

    def finish_early(self, poll: Poll) -> None:
        """Answer a poll with no updates and its own cursor, since a newer request takes its place."""
        if Step.SUPERSEDED in TABLE[poll.state]:
            self._finish(poll, Outcome.SUPERSEDED, self._responses.same(poll))

    # What comes from the stream and from the grants

    def deliver(self, event: Event) -> None:
        """Take in the stream's next event and wake the polls that wait on its path."""
        self.stats.events += 1
        self._ring.append(event)
        if not self._is_stale and self._fanout.wake(self.held.take(event.path), event.seq - 1):
            self.answer_woken()
        # After the wake: who was ahead until now may know this event already, and reads the ring itself.
        if self.held.polls_ahead_of_log:
            self._recheck_ahead()

    def answer_woken(self) -> None:
        """Answer the next slice of the polls that events woke, and ask for another turn when some are left."""
        try:
            for poll in self._fanout.next_slice():
                self._consider(poll)
        finally:
            # Also after a fault in one poll: without this the others would wait for ever.
            if self._fanout.is_waiting:
                self._need(Need.NEXT_SLICE)

    def skip_to(self, seq: int) -> None:
        """Note that the stream holds nothing from the head to `seq`."""
        self._ring.skip_to(seq)
        self._recheck_ahead()

    def begin(self, epoch: int, after: int, events: list[Event], head: int, epoch_start: int = 0) -> None:
        """Start again with the stream of `epoch`, of which `events` are all between `after` and `head`.

        Shape: what is stored up to epoch_start was there before `epoch` began.
        """
        self._fanout.forget()
        self._ring.reset(epoch, after, epoch_start)
        for event in events:
            self._ring.append(event)
        self._ring.skip_to(head)
        self._reconsider_all()

    def head_checked(self) -> None:
        """Take note that the ring's head was the stream's end a moment ago: a cursor still ahead of it is of no use."""
        self._recheck_ahead()
        if self._is_stale:
            return
        for poll, checks in list(self.held.polls_ahead_of_log.items()):
            # The first check may have begun before the event that this cursor names was stored.
            if checks:
                self._report_gap(poll, "epoch")
            else:
                self.held.polls_ahead_of_log[poll] = 1
                self._need(Need.HEAD_CHECK)

    def set_stale(self, *, is_stale: bool) -> None:
        """Hold every answer back while the view of NATS is stale (I5), and catch up when it is fresh again."""
        was_stale, self._is_stale = self._is_stale, is_stale
        if is_stale:
            # What woke these polls is in the ring, and is found there when the view is fresh.
            self._fanout.forget()
        elif was_stale:
            self._reconsider_all()

    def grants_found(self, poll: Poll, client: MaybeClient) -> None:
        """Take in what the store has for the uid of `poll`: at least as new as what any replica reported to it."""
        poll.is_checked = True
        self.grants_known(poll.uid, client)

    def grants_known(self, uid: bytes, client: MaybeClient) -> None:
        """Take in the newest record that came of `uid`; its poll wakes when there is something to report."""
        poll = self.held.by_uid.get(uid)
        if poll is None:
            return
        if poll.state is State.LOOKING and not poll.is_checked and _is_behind(client, poll.acked_grant_version):
            return
        before = poll.client
        poll.client = client
        if poll.state is State.READING:
            return
        if before is not None:
            # One that comes after its own end is considered: its client learns of that before its hold is over.
            if (
                poll.state is not State.LOOKING
                and client is not None
                and client.version == before.version
                and client.paths is before.paths
                and time.time() < client.ends_at
            ):
                return
            self.held.ignore(poll, before.paths)
        self._consider(poll)

    def forget_grants(self, uids: Collection[bytes] | None = None) -> None:
        """Look up the record of every poll, or of those of `uids`, since what was known of them may be wrong."""
        polls = self.held.polls if uids is None else [poll for uid in uids if (poll := self.held.by_uid.get(uid))]
        self._need(NeedRecords(polls))

    def replayed(self, need: NeedReplay, replay: Replay) -> None:
        """Take in what the stream had for a poll."""
        poll = need.poll
        if poll.state is State.DONE:
            return
        if poll.epoch == self._ring.epoch != replay.epoch:
            # The stream began again and the ring does not know yet; when it does, every poll is considered again.
            # Until then its place can't be judged, and what may have woken it was of the log before.
            self._await_log(poll)
            return
        client = self._present(poll)
        # A reading that ended after the ring started again is of the log before.
        is_current = poll.epoch == replay.epoch == self._ring.epoch and not self._is_stale
        if client is None or client.version != need.client.version or not is_current:
            self._consider(poll)
            return
        events = [event for event in replay.backlog.events if event.path in client.paths]
        gaps: list[tuple[str, GapReason]] = [(path, "expired") for path in replay.expired if path in client.paths]
        if events or gaps:
            backlog = cut(events, replay.backlog.seq, *self._responses.room(client, poll.acked_grant_version))
            poll.seq = backlog.seq
            self._answer(poll, client, backlog.events, gaps)
        else:
            self._consider(poll, read_to=replay.backlog.seq)

    def unavailable(self, poll: Poll, detail: str) -> None:
        """Refuse a poll that can't go on, since NATS had no answer in time; a held one stays held."""
        if Step.READ_FAILED in TABLE[poll.state]:
            self._close(poll, Outcome.REFUSED)
            self.stats.refusals["unanswered"] += 1
            poll.reply.refuse(503, detail, RETRY_AFTER_SECONDS)

    # What time brings

    def tick(self) -> None:
        """End the holds that are due; to be called a few times a second."""
        for poll in self._holds.due(self.held.by_uid.values()):
            if not self._fanout.has_woken(poll):
                self._end_hold(poll, Outcome.TIMEOUT)

    def release(self, poll: Poll) -> None:
        """Send a held poll elsewhere, since this replica is draining (I8)."""
        if Step.RELEASED in TABLE[poll.state] and not self._fanout.has_woken(poll):
            self._send_away(poll)

    # Register, recheck, wait

    def _consider(self, poll: Poll, read_to: int = 0) -> None:
        """Answer `poll` when there is news, else hold it; the stream had nothing for it up to `read_to`."""
        if self.held.polls_ahead_of_log:
            self.held.polls_ahead_of_log.pop(poll, None)
        client, acked, ring = self._present(poll), poll.acked_grant_version, self._ring
        if client is None or _is_behind(client, acked):
            self._consider_without_record(poll)
            return
        if client.report != self._view.report:
            self._view.note_served(poll.uid, client)
        if self._is_stale:
            self._hold(poll)
            return
        if poll.epoch != ring.epoch:
            self._report_gap(poll, "epoch")
            return
        if poll.seq > ring.head:
            self._await_log(poll)
            return
        starts = [
            (path, max(after, read_to)) for path, after in client.starts(poll.seq, acked, ring.epoch, ring.epoch_start)
        ]
        if any(after < ring.tail for _, after in starts):
            self.held.ignore(poll, client.paths)
            poll.state = TABLE[poll.state][Step.REPLAY_NEEDED]
            self._need(NeedReplay(poll, client, tuple(starts)))
            return
        backlog = ring.collect(starts, *self._responses.room(client, acked))
        poll.seq = backlog.seq
        if backlog.events or acked < client.version:
            self._answer(poll, client, backlog.events)
        else:
            self.held.listen(poll, client.paths)
            self._hold(poll)

    def _consider_without_record(self, poll: Poll) -> None:
        if poll.acked_grant_version and not poll.is_checked:
            # Another replica reported more to it than this one knows, which may only lag (I6): the store decides.
            poll.state = TABLE[poll.state][Step.RECORD_NEEDED]
            self._need(NeedRecords((poll,)))
        elif poll.acked_grant_version:
            # Its record is gone, or a new one has begun: the client has to connect its paths again, under a new uid.
            self._finish(poll, Outcome.RENEWED, self._responses.welcome())
        elif poll.epoch != self._ring.epoch or poll.seq > self._ring.head:
            # Nothing was granted, so nothing is missed: the client just takes up the cursor of now.
            poll.state = State.HELD
            self._end_hold(poll, Outcome.TIMEOUT)
        else:
            self._hold(poll)

    def _await_log(self, poll: Poll) -> None:
        """Let `poll` wait until the ring has come to its cursor, or the stream turns out to end before it."""
        poll.state = TABLE[poll.state][Step.LOG_NEEDED]
        self.held.set_ahead(poll)
        self._need(Need.HEAD_CHECK)

    def _hold(self, poll: Poll) -> None:
        poll.state = State.HELD
        if self.is_draining:
            self._send_away(poll)
        elif self._holds.is_over(poll):
            # Its time ran out while NATS was asked.
            self._end_hold(poll, Outcome.TIMEOUT)

    def _present(self, poll: Poll) -> MaybeClient:
        """Return what the poll's client may receive at this moment."""
        client = poll.client
        if client is not None:
            now = time.time()
            if now >= client.ends_at:
                self.held.ignore(poll, client.paths)
                client = poll.client = self._view.at(client, now)
        return client

    def _recheck_ahead(self) -> None:
        for poll in list(self.held.polls_ahead_of_log):
            if poll.seq <= self._ring.head:
                self._consider(poll)

    def _reconsider_all(self) -> None:
        for poll in self.held.polls:
            # The others wait for a read, and are considered when its result comes.
            if poll.state in {State.HELD, State.AHEAD}:
                self._consider(poll)

    # Answer

    def _answer(
        self, poll: Poll, client: ClientGrants, events: Sequence[Event], gaps: Sequence[tuple[str, GapReason]] = ()
    ) -> None:
        """Answer one poll with the changes of its grants, `events` and `gaps`, and the cursor after them."""
        body = self._responses.news(poll, client, events, gaps)
        for _, reason in gaps:
            self.stats.gaps[reason] += 1
        self._finish(poll, Outcome.GAP if gaps else Outcome.EVENT if events else Outcome.GRANT, body)
        self.stats.count_answered(events, time.time_ns(), time.monotonic() - poll.began)

    def _report_gap(self, poll: Poll, reason: GapReason) -> None:
        """Report that the client's position is of no use, and give it the one of now."""
        client = poll.client
        if client is not None:
            poll.seq = self._ring.head
            self._answer(poll, client, (), [(path, reason) for path in client.paths])

    def _end_hold(self, poll: Poll, outcome: Outcome, *, retry_ms: int | None = None) -> None:
        """Answer a poll without updates; what came while it was held is no news to it, unless we can't be sure."""
        is_unsure = self._is_stale or poll.state is State.AHEAD
        body = self._responses.same(poll, retry_ms) if is_unsure else self._responses.nothing(poll, retry_ms)
        self._finish(poll, outcome, body)

    def _send_away(self, poll: Poll) -> None:
        self._end_hold(poll, Outcome.DRAIN, retry_ms=random.randint(*DRAIN_RETRY_MS))  # noqa: S311  # no secret

    def _finish(self, poll: Poll, outcome: Outcome, body: bytes) -> None:
        self._close(poll, outcome)
        poll.reply.answer(body)

    def _close(self, poll: Poll, outcome: Outcome) -> None:
        poll.state = State.DONE
        self.held.remove(poll)
        self.stats.hold[outcome].observe(time.monotonic() - poll.began)


def _is_behind(client: MaybeClient, acked_grant_version: int) -> bool:
    """Return whether `client` lacks a change of its grants that was acknowledged."""
    return acked_grant_version > (0 if client is None else client.version)
