"""Fan-out: answers the polls that an event woke, in slices, with one body for all that hear the same.

A poll in the queue is still held: it may be answered by something else first, and then the queue passes it over.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable

from roots_longpoll import answers
from roots_longpoll.poll import NOT_WOKEN, Limits, Outside, Poll, State
from roots_longpoll.ring import Event, Ring
from roots_longpoll.stats import Outcome, Stats

# One slice takes 2-3 ms; other requests get their turn between slices.
SLICE = 256


class Fanout:
    """The queue of woken polls.

    Shape: finish answers a poll with a body; reconsider is for a poll that can't share one.
    """

    def __init__(
        self,
        *,
        ring: Ring,
        limits: Limits,
        outside: Outside,
        stats: Stats,
        finish: Callable[[Poll, Outcome, bytes], None],
        reconsider: Callable[[Poll], None],
    ) -> None:
        self._ring = ring
        self._limits = limits
        self._outside = outside
        self._stats = stats
        self._finish = finish
        self._reconsider = reconsider
        self._woken: deque[Poll] = deque()
        self._is_running = False

    def wake(self, polls: Iterable[Poll], after: int) -> None:
        """Answer `polls` with what came after `after`: the first slice now, the others after other work."""
        for poll in polls:
            # A poll that an earlier event woke is in the queue already, and will read this event too.
            if poll.woken_after == NOT_WOKEN:
                poll.woken_after = after
                self._woken.append(poll)
        if self._woken and not self._is_running:
            self._run_slice()

    def _run_slice(self) -> None:
        woken = self._woken
        tail, epoch = self._ring.tail, self._ring.epoch
        bodies: dict[tuple[int, int], _SharedBody] = {}
        now = time.time()
        for _ in range(min(SLICE, len(woken))):
            poll = woken.popleft()
            after, poll.woken_after = poll.woken_after, NOT_WOKEN
            client = poll.client
            if poll.state is not State.HELD or client is None:
                continue
            if client.floor > after or client.epoch > epoch or now >= client.ends_at or after < tail:
                self._reconsider(poll)
                continue
            key = (id(client.paths), after)
            body = bodies.get(key)
            if body is None:
                body = bodies[key] = self._share(client.paths, after)
            body.uses += 1
            self._finish(poll, Outcome.EVENT, b'%b%b%b%b"}' % (body.opening, poll.uid, body.position, client.n_text))
        written_ns = time.time_ns()
        for body in bodies.values():
            self._stats.count_deliveries((event.committed_ns for event in body.events), written_ns, body.uses)
        self._is_running = bool(woken)
        if woken:
            self._outside.defer(self._run_slice)

    def _share(self, paths: tuple[str, ...], after: int) -> "_SharedBody":
        limits = self._limits
        backlog = self._ring.collect([(path, after) for path in paths], limits.max_updates, limits.max_answer_bytes)
        opening = answers.opening(event.update for event in backlog.events)
        return _SharedBody(paths, opening, answers.position(self._ring.epoch_text, backlog.seq), backlog.events)


class _SharedBody:
    """The parts of an answer that clients with the same paths and news share; holding paths keeps its id in use."""

    __slots__ = ("events", "opening", "paths", "position", "uses")

    def __init__(self, paths: tuple[str, ...], opening: bytes, position: bytes, events: list[Event]) -> None:
        self.paths = paths
        self.opening = opening
        self.position = position
        self.events = events
        self.uses = 0
