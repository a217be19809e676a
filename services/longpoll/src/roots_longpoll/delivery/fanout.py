"""Fan-out: answers the polls that an event woke, in slices, with one body for all that receive the same.

A poll in the queue is still held: it may be answered by something else first, and then the queue passes it over.
"""

import time
from collections import deque
from collections.abc import Collection, Iterator
from itertools import islice
from operator import length_hint

from roots_longpoll.delivery import responses
from roots_longpoll.delivery.grants import ClientGrants
from roots_longpoll.delivery.held import HeldPolls
from roots_longpoll.delivery.poll import Limits, Poll
from roots_longpoll.delivery.responses import SharedBody
from roots_longpoll.delivery.ring import Ring
from roots_longpoll.delivery.states import State
from roots_longpoll.delivery.stats import Outcome, Stats

# One slice takes 3-5 ms; other requests get their turn between slices. With smaller ones, new polls of clients that
# were answered would be handled before the remaining answers.
SLICE = 512
# Polls with a hundred paths, or answers of many kilobytes, take longer: a slice of them ends sooner.
SLICE_SECONDS = 0.008
# So many polls are answered between two looks at the clock.
_LOOK_EVERY = 16
_NOTHING = SharedBody([], b"")


class Fanout:
    """The queue of woken polls."""

    def __init__(self, *, ring: Ring, limits: Limits, stats: Stats, held: HeldPolls) -> None:
        self._ring = ring
        self._limits = limits
        self._stats = stats
        self._held = held
        # What each event woke, how far it has been answered, and the sequence before the event.
        self._woken: deque[tuple[Collection[Poll], Iterator[Poll], int]] = deque()

    @property
    def is_waiting(self) -> bool:
        """Whether polls wait for the next slice."""
        return bool(self._woken)

    def wake(self, polls: Collection[Poll], after: int) -> bool:
        """Queue `polls`, for what came after `after`; return whether they are the first in the queue."""
        if not polls:
            return False
        self._woken.append((polls, iter(polls), after))
        return len(self._woken) == 1

    def has_woken(self, poll: Poll) -> bool:
        """Return whether there is news for `poll`, which waits for its slice."""
        return any(poll in polls for polls, _, _ in self._woken)

    def forget(self) -> None:
        """Pass over all that wait; the ring has what woke them, or the log that woke them is gone."""
        self._woken.clear()

    def next_slice(self) -> Iterator[Poll]:
        """Answer the next of the woken polls, and yield those that can't share a body; they are to be considered."""
        room, end = SLICE, time.monotonic() + SLICE_SECONDS
        while self._woken and room > 0:
            _, rest, after = self._woken[0]
            before = length_hint(rest)
            yield from self._answer(islice(rest, room), after, end)
            left = length_hint(rest)
            room -= max(1, before - left)
            if left == 0:
                self._woken.popleft()
            if time.monotonic() > end:
                break

    def _answer(self, polls: Iterator[Poll], after: int, end: float) -> Iterator[Poll]:
        """Answer `polls`, or the first of them when it is after `end` (monotonic seconds); yield as next_slice does."""
        held, tail, epoch = self._held, self._ring.tail, self._ring.epoch
        by_uid = held.by_uid
        bodies: dict[tuple[tuple[str, ...], int], SharedBody] = {}
        body, version = _NOTHING, 0
        paths: tuple[str, ...] = ()
        hold_seconds: list[float] = []
        now, began = time.time(), time.monotonic()
        for poll in polls:
            client = poll.client
            # Another event, or a hold's end, may have answered it meanwhile.
            if poll.state is not State.HELD or client is None:
                continue
            if client.min_seq > after or client.epoch > epoch or now >= client.ends_at or after < tail:
                yield poll
                continue
            # Clients that receive the same mostly stand beside each other.
            if client.paths is not paths or client.version != version:
                paths, version = client.paths, client.version
                body = bodies.get((paths, version)) or self._share(client, after)
                bodies[paths, version] = body
            body.uses += 1
            hold_seconds.append(began - poll.began)
            poll.state = State.DONE
            del by_uid[poll.uid]
            # HeldPolls.take has removed the poll from the path of the event; its other paths are left.
            if len(paths) > 1:
                held.ignore(poll, paths)
            poll.reply.answer_shared(body, poll.uid)
            if not len(hold_seconds) % _LOOK_EVERY and time.monotonic() > end:
                break
        written_ns = time.time_ns()
        for body in bodies.values():
            self._stats.count_deliveries(body.events, written_ns, body.uses)
        self._stats.hold[Outcome.EVENT].observe_all(hold_seconds)

    def _share(self, client: ClientGrants, after: int) -> SharedBody:
        limits, ring = self._limits, self._ring
        backlog = ring.collect([(path, after) for path in client.paths], limits.max_updates, limits.max_answer_bytes)
        closing = b'%b%b"}' % (responses.position(ring.epoch_text, backlog.seq), client.version_text)
        return SharedBody(backlog.events, closing)
