"""The desk: register, recheck, wait, answer.

A poll registers before its backlog is read, so that no event falls between (I4); nothing is kept for a client that its
next request could not rebuild from the cursor (I3, I6). The desk knows no socket and never blocks: what must be asked
elsewhere goes through `Outside` and comes back as a call. One event loop owns it.
"""

import random
import time
from collections.abc import Collection

from roots.contracts.uids import Uids
from roots_longpoll.delivery.fanout import Fanout
from roots_longpoll.delivery.grants import UNKNOWN, Client, GrantsView, Known, Unknown
from roots_longpoll.delivery.holds import Holds
from roots_longpoll.delivery.hub import Hub
from roots_longpoll.delivery.poll import Limits, Outside, Poll, Replay, Reply, State
from roots_longpoll.delivery.response_builder import Telling
from roots_longpoll.delivery.responses import GapReason
from roots_longpoll.delivery.ring import Event, Ring, cut
from roots_longpoll.delivery.stats import Outcome, Stats

# Clients sent away by a drain come back spread over this time, so that the other replicas are not hit at once.
DRAIN_RETRY_MS = (100, 1500)
RETRY_AFTER_SECONDS = 1


class Desk:
    """All polls of one replica, and what wakes them."""

    def __init__(
        self, *, ring: Ring, grants: GrantsView, uids: Uids, outside: Outside, stats: Stats, limits: Limits
    ) -> None:
        self.stats = stats
        self.is_draining = False
        self._limits = limits
        self._ring = ring
        self._grants = grants
        self._uids = uids
        self._outside = outside
        self._is_stale = False
        self._polls: dict[bytes, Poll] = {}
        self._hub: Hub[Poll] = Hub()
        self._telling = Telling(ring=ring, uids=uids, stats=stats, limits=limits)
        self._holds = Holds(limits.hold_seconds)
        self._ahead: dict[Poll, int] = {}
        self._fanout = Fanout(
            ring=ring,
            limits=limits,
            outside=outside,
            stats=stats,
            ahead=self._ahead,
            close=self._close_woken,
            reconsider=self._consider,
        )
        # Clients that polled since they were reported; each notes the number of the report that it is in.
        self._served: list[bytes] = []
        self._report = 1
        self.client_of = grants.recent

    # What clients ask

    def welcome(self, reply: Reply) -> None:
        """Begin a client: answer at once with a new uid and the cursor of now."""
        reply.answer(self._telling.welcome())

    def accepts(self, uid: bytes) -> bool:
        """Tell whether `uid` was minted by this system and has not expired."""
        # A uid that has a record was verified when the record was written.
        return isinstance(self._grants.get(uid), Client) or self._uids.is_valid(uid.decode("latin-1"))

    def poll(
        self, reply: Reply, uid: bytes, epoch: int, seq: int, told: int, found: Client | None = None
    ) -> Poll | None:
        """Answer the poll of `uid` at the cursor `epoch.seq.told`, now or when there is news; `found` is its client.

        Return the poll while it waits, None when it has been answered; one of a uid that is not accepted is welcomed.
        """
        client: Known | Unknown = found
        if client is None:
            client = self._grants.get(uid)
            if not isinstance(client, Client) and not self._uids.is_valid(uid.decode("latin-1")):
                self.welcome(reply)
                return None
        older = self._polls.get(uid)
        if older is not None:
            self.finish_early(older)
        if len(self._polls) >= self._limits.max_held:
            self.stats.refusals["full"] += 1
            reply.refuse(503, "The replica holds as many polls as it may.", RETRY_AFTER_SECONDS)
            return None
        ring = self._ring
        # Clients share the one number of the epoch that they have in common.
        began = time.monotonic()
        due = began + self._holds.next_seconds()
        poll = Poll(reply, uid, ring.epoch if epoch == ring.epoch else epoch, seq, told, began, due)
        self._polls[uid] = poll
        if client is UNKNOWN:
            self._outside.look_up(poll)
        else:
            poll.client = client
            poll.state = State.HELD
            # Most polls are of clients that know all there is, and just wait.
            if (
                client is not None
                and seq == ring.head
                and told == client.n
                and epoch == ring.epoch
                and not (self._is_stale or self.is_draining)
                and time.time() < client.ends_at
            ):
                if client.report != self._report:
                    self._note_served(uid, client)
                self._hub.add(poll, client.paths)
                return poll
            self._consider(poll)
        return None if poll.state is State.DONE else poll

    def abandon(self, poll: Poll) -> None:
        """Forget a poll whose client has gone; what it was not told, its next poll will be."""
        if poll.state is not State.DONE:
            self._close(poll, Outcome.GONE)

    def finish_early(self, poll: Poll) -> None:
        """Answer a poll with no updates and its own cursor, since a newer request takes its place."""
        if poll.state is not State.DONE:
            self._finish(poll, Outcome.SUPERSEDED, self._telling.same(poll))

    # What the stream and the grants tell

    def deliver(self, event: Event) -> None:
        """Take in the stream's next event and wake those who wait on its path."""
        self.stats.events += 1
        self._ring.append(event)
        if not self._is_stale:
            self._fanout.wake(self._hub.take(event.path), event.seq - 1)
        # After the wake: who was ahead until now may know this event already, and reads the ring itself.
        if self._ahead:
            self._recheck_ahead()

    def skip_to(self, seq: int) -> None:
        """Note that the stream holds nothing from the head to `seq`."""
        self._ring.skip_to(seq)
        if self._ahead:
            self._recheck_ahead()

    def begin(self, epoch: int, after: int, events: list[Event], head: int, epoch_start: int = 0) -> None:
        """Begin anew with the stream of `epoch`, of which `events` are all between `after` and `head`.

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
        for poll, checks in list(self._ahead.items()):
            # The first check may have begun before the event that this cursor names was stored.
            if checks:
                self._report_gap(poll, "epoch")
            else:
                self._ahead[poll] = 1
                self._outside.check_head()

    def set_stale(self, *, is_stale: bool) -> None:
        """Hold every answer back while the view of NATS is stale (I5), and catch up when it is fresh again."""
        was_stale, self._is_stale = self._is_stale, is_stale
        self._fanout.is_stale = is_stale
        if was_stale and not is_stale:
            self._reconsider_all()

    def grants_found(self, poll: Poll, client: Known) -> None:
        """Take in what the store has for the uid of `poll`: at least as new as what any replica told its client."""
        poll.is_checked = True
        self.grants_known(poll.uid, client)

    def grants_known(self, uid: bytes, client: Known) -> None:
        """Take in the newest record that came of `uid`; its poll wakes when there is something to tell."""
        poll = self._polls.get(uid)
        if poll is None:
            return
        if poll.state is State.LOOKING and not poll.is_checked and _is_behind(client, poll.told):
            return
        before = poll.client
        poll.client = client
        if poll.state is State.READING:
            return
        if before is not None:
            # One that comes after its own end is considered: its client is to hear of that before its hold is over.
            if (
                client is not None
                and client.n == before.n
                and client.paths is before.paths
                and time.time() < client.ends_at
            ):
                return
            self._hub.discard(poll, before.paths)
        poll.state = State.HELD
        self._consider(poll)

    def forget_grants(self, uids: Collection[bytes] | None = None) -> None:
        """Look up the record of every poll, or of those of `uids`, since what was known of them may be wrong."""
        polls = list(self._polls.values()) if uids is None else [self._polls[uid] for uid in uids if uid in self._polls]
        for poll in polls:
            self._outside.look_up(poll)

    def replayed(self, poll: Poll, replay: Replay, read_for: Client) -> None:
        """Take in what the stream had for `poll`, read with the grants `read_for`."""
        if poll.state is State.DONE:
            return
        poll.state = State.HELD
        if poll.epoch == self._ring.epoch != replay.epoch:
            # The stream began anew and the ring does not know yet; when it does, every poll is considered again.
            # Until then its place can't be judged, and what may have woken it was of the log before.
            self._ahead[poll] = 0
            self._outside.check_head()
            return
        client = self._present(poll)
        # A reading that ended after the ring began anew is of the log before.
        is_current = poll.epoch == replay.epoch == self._ring.epoch and not self._is_stale
        if client is None or client.n != read_for.n or not is_current:
            self._consider(poll)
            return
        events = [event for event in replay.backlog.events if event.path in client.paths]
        gaps: list[tuple[str, GapReason]] = [(path, "expired") for path in replay.expired if path in client.paths]
        if events or gaps:
            backlog = cut(events, replay.backlog.seq, *self._telling.room(client, poll.told))
            poll.seq = backlog.seq
            self._answer(poll, client, events=backlog.events, gaps=gaps)
        else:
            self._consider(poll, read_to=replay.backlog.seq)

    def unavailable(self, poll: Poll, detail: str) -> None:
        """Refuse a poll that can't go on, since the world outside had no answer in time; a held one stays held."""
        if poll.state in {State.LOOKING, State.READING}:
            self._close(poll, Outcome.REFUSED)
            self.stats.refusals["unanswered"] += 1
            poll.reply.refuse(503, detail, RETRY_AFTER_SECONDS)

    # What time tells

    def tick(self) -> None:
        """End the holds that are due; to be called a few times a second."""
        for poll in self._holds.due(self._polls.values()):
            if not self._fanout.has_woken(poll):
                self._end_hold(poll, Outcome.TIMEOUT)

    def release(self, poll: Poll) -> None:
        """Send a held poll elsewhere, since this replica is draining (I8)."""
        if poll.state is State.HELD and not self._fanout.has_woken(poll):
            self._end_hold(poll, Outcome.DRAIN, retry_ms=random.randint(*DRAIN_RETRY_MS))  # noqa: S311  # no secret

    # What others may know

    @property
    def polls(self) -> list[Poll]:
        """The polls that wait now."""
        return list(self._polls.values())

    @property
    def held_count(self) -> int:
        """How many polls wait now."""
        return len(self._polls)

    @property
    def paths_heard(self) -> int:
        """How many paths some held poll waits on."""
        return self._hub.path_count

    def take_served(self) -> set[bytes]:
        """Return the uids with a record that polled since the last call."""
        served, self._served = self._served, []
        self._report += 1
        return set(served)

    # Register, recheck, wait

    def _consider(self, poll: Poll, read_to: int = 0) -> None:
        """Answer `poll` when there is news, else hold it; the stream had nothing for it up to `read_to`."""
        self._ahead.pop(poll, None)
        client = self._present(poll)
        told = poll.told
        if client is None or _is_behind(client, poll.told):
            self._consider_without_record(poll)
            return
        if client.report != self._report:
            self._note_served(poll.uid, client)
        if self._is_stale:
            self._hold(poll)
            return
        self._hub.add(poll, client.paths)
        if poll.epoch != self._ring.epoch:
            self._report_gap(poll, "epoch")
            return
        ring = self._ring
        if poll.seq > ring.head:
            self._hub.discard(poll, client.paths)
            self._ahead[poll] = 0
            self._outside.check_head()
            return
        starts = [
            (path, max(after, read_to)) for path, after in client.starts(poll.seq, told, ring.epoch, ring.epoch_start)
        ]
        if any(after < ring.tail for _, after in starts):
            self._hub.discard(poll, client.paths)
            poll.state = State.READING
            self._outside.replay(poll, starts)
            return
        backlog = ring.collect(starts, *self._telling.room(client, told))
        poll.seq = backlog.seq
        if backlog.events or told < client.n:
            self._answer(poll, client, events=backlog.events)
        else:
            self._hold(poll)

    def _consider_without_record(self, poll: Poll) -> None:
        if poll.told and not poll.is_checked:
            # Another replica told it more than this one knows, which may only lag (I6): the store decides.
            poll.state = State.LOOKING
            self._outside.look_up(poll)
        elif poll.told:
            # Its record is gone, or a new one has begun: the client has to connect its paths again, under a new uid.
            self._finish(poll, Outcome.RENEWED, self._telling.welcome())
        elif poll.epoch != self._ring.epoch or poll.seq > self._ring.head:
            # Nothing was granted, so nothing is missed: the client just takes up the cursor of now.
            self._end_hold(poll, Outcome.TIMEOUT)
        else:
            self._hold(poll)

    def _hold(self, poll: Poll) -> None:
        if self.is_draining:
            self.release(poll)
        elif self._holds.is_over(poll):
            # Its time ran out while the world outside was asked.
            self._end_hold(poll, Outcome.TIMEOUT)

    def _present(self, poll: Poll) -> Known:
        """Return what the poll's client may hear at this moment."""
        client = poll.client
        if client is not None:
            now = time.time()
            if now >= client.ends_at:
                self._hub.discard(poll, client.paths)
                client = poll.client = self._grants.at(client, now)
        return client

    def _recheck_ahead(self) -> None:
        for poll in list(self._ahead):
            if poll.seq <= self._ring.head:
                self._consider(poll)

    def _reconsider_all(self) -> None:
        for poll in list(self._polls.values()):
            if poll.state is State.HELD:
                self._consider(poll)

    # Answer

    def _answer(
        self,
        poll: Poll,
        client: Client,
        *,
        events: list[Event],
        gaps: list[tuple[str, GapReason]] | None = None,
    ) -> None:
        """Answer one poll with the changes of its grants, `events` and `gaps`, and the cursor after them."""
        body = self._telling.news(poll, client, events, gaps or ())
        for _, reason in gaps or ():
            self.stats.gaps[reason] += 1
        self._finish(poll, Outcome.GAP if gaps else Outcome.EVENT if events else Outcome.GRANT, body)
        self.stats.count_answered(events, time.time_ns(), time.monotonic() - poll.began)

    def _report_gap(self, poll: Poll, reason: GapReason) -> None:
        """Tell the client that its position is of no use, and give it the one of now."""
        client = poll.client
        if client is not None:
            poll.seq = self._ring.head
            self._answer(poll, client, events=[], gaps=[(path, reason) for path in client.paths])

    def _end_hold(self, poll: Poll, outcome: Outcome, *, retry_ms: int | None = None) -> None:
        """Answer a poll without updates; what came while it was held is no news to its client, unless we can't tell."""
        is_unsure = self._is_stale or poll in self._ahead
        body = self._telling.same(poll, retry_ms) if is_unsure else self._telling.nothing(poll, retry_ms)
        self._finish(poll, outcome, body)

    def _finish(self, poll: Poll, outcome: Outcome, body: bytes) -> None:
        self._close(poll, outcome)
        poll.reply.answer(body)

    def _close_woken(self, poll: Poll, client: Client) -> None:
        """Close a held poll that an event woke; its hold is counted with those of the others."""
        poll.state = State.DONE
        del self._polls[poll.uid]
        # The path of the event was taken from the hub already.
        if len(client.paths) > 1:
            self._hub.discard(poll, client.paths)

    def _note_served(self, uid: bytes, client: Client) -> None:
        client.report = self._report
        self._served.append(uid)

    def _close(self, poll: Poll, outcome: Outcome) -> None:
        poll.state = State.DONE
        if self._polls.get(poll.uid) is poll:
            del self._polls[poll.uid]
        if poll.client is not None:
            self._hub.discard(poll, poll.client.paths)
        if self._ahead:
            self._ahead.pop(poll, None)
        self.stats.hold[outcome].observe(time.monotonic() - poll.began)


def _is_behind(client: Known, told: int) -> bool:
    """Tell whether `client` lacks a change of its grants, when it was told of those up to `told`."""
    return told > (0 if client is None else client.n)
