"""Fan-out: answers the polls that an event woke, in slices, with one body for all that hear the same.

A poll in the queue is still held: it may be answered by something else first, and then the queue passes it over.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Container, Iterator
from itertools import islice
from operator import length_hint

from roots_longpoll.delivery import responses
from roots_longpoll.delivery.grants import Client
from roots_longpoll.delivery.poll import Limits, Outside, Poll, State
from roots_longpoll.delivery.responses import SharedBody
from roots_longpoll.delivery.ring import Ring
from roots_longpoll.delivery.stats import Outcome, Stats

# One slice takes 3-5 ms; other requests get their turn between slices. With smaller ones the next polls of those who
# were answered come before the answers of the others.
SLICE = 512
# Polls with a hundred paths, or answers of many kilobytes, take longer: a slice of them ends sooner.
SLICE_SECONDS = 0.008
# So many polls are answered between two looks at the clock.
_LOOK_EVERY = 16
_NOTHING = SharedBody([], b"")


class Fanout:
    """The queue of woken polls.

    Shape: close takes an answered poll out of all that waits; reconsider is for a poll that can't share a body, and for
        all while the view is_stale. Those that are ahead of the ring are passed over: they are looked at when it moves.
    """

    def __init__(
        self,
        *,
        ring: Ring,
        limits: Limits,
        outside: Outside,
        stats: Stats,
        ahead: Container[Poll],
        close: Callable[[Poll, Client], None],
        reconsider: Callable[[Poll], None],
    ) -> None:
        self._ring = ring
        self._limits = limits
        self._outside = outside
        self._stats = stats
        self._ahead = ahead
        self.is_stale = False
        self._close = close
        self._reconsider = reconsider
        # What each event woke, how far it has been answered, and the sequence before the event.
        self._woken: deque[tuple[Collection[Poll], Iterator[Poll], int]] = deque()

    def wake(self, polls: Collection[Poll], after: int) -> None:
        """Answer `polls` with what came after `after`: the first slice now, the others after other work."""
        if polls:
            self._woken.append((polls, iter(polls), after))
            if len(self._woken) == 1:
                self._run_slice()

    def has_woken(self, poll: Poll) -> bool:
        """Tell whether there is news for `poll`, which waits for its slice."""
        return any(poll in polls for polls, _, _ in self._woken)

    def forget(self) -> None:
        """Pass over all that wait: the log that woke them is gone."""
        self._woken.clear()

    def _run_slice(self) -> None:
        room, end = SLICE, time.monotonic() + SLICE_SECONDS
        try:
            while self._woken and room > 0:
                _, rest, after = self._woken[0]
                before = length_hint(rest)
                self._answer(islice(rest, room), after, end)
                left = length_hint(rest)
                room -= max(1, before - left)
                if left == 0:
                    self._woken.popleft()
                if time.monotonic() > end:
                    break
        finally:
            # Also after a fault in one poll: without this the others would wait for ever.
            if self._woken:
                self._outside.defer(self._run_slice)

    def _answer(self, polls: Iterator[Poll], after: int, end: float) -> None:
        """Answer `polls`, or the first of them when it is after `end` (monotonic seconds)."""
        ahead, tail, epoch = self._ahead, self._ring.tail, self._ring.epoch
        bodies: dict[tuple[tuple[str, ...], int], SharedBody] = {}
        body, n = _NOTHING, 0
        paths: tuple[str, ...] = ()
        holds: list[float] = []
        now, began = time.time(), time.monotonic()
        for poll in polls:
            client = poll.client
            # Another event, or a hold's end, may have answered it meanwhile.
            if poll.state is not State.HELD or client is None or poll in ahead:
                continue
            if self.is_stale or client.floor > after or client.epoch > epoch or now >= client.ends_at or after < tail:
                self._reconsider(poll)
                continue
            # Clients that hear the same mostly stand beside each other.
            if client.paths is not paths or client.n != n:
                paths, n = client.paths, client.n
                body = bodies.get((paths, n)) or self._share(client, after)
                bodies[paths, n] = body
            body.uses += 1
            holds.append(began - poll.began)
            self._close(poll, client)
            poll.reply.answer_shared(body, poll.uid)
            if not len(holds) % _LOOK_EVERY and time.monotonic() > end:
                break
        written_ns = time.time_ns()
        for body in bodies.values():
            self._stats.count_deliveries(body.events, written_ns, body.uses)
        self._stats.hold[Outcome.EVENT].observe_all(holds)

    def _share(self, client: Client, after: int) -> SharedBody:
        limits, ring = self._limits, self._ring
        backlog = ring.collect([(path, after) for path in client.paths], limits.max_updates, limits.max_answer_bytes)
        closing = b'%b%b"}' % (responses.position(ring.epoch_text, backlog.seq), client.n_text)
        return SharedBody(backlog.events, closing)
