"""One replica as a simulation: the turns of its event loop, each poll of its clients, each event.

Replicas share nothing but NATS, so one of them with its part of the clients tells what any number of them does. The
loop is that of `roots_longpoll`: in each turn it takes what has come, then answers one slice of those whom an event
woke. What each step costs is measured; when it happens is what is simulated. May import: clients, roots_longpoll's
constants.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from bench.simulation.clients import Clients
from roots_longpoll.delivery import fanout, holds
from roots_longpoll.stream import lookups

HOLD_SECONDS = 25.0
SHORTEST_HOLD = 0.8
TICK_SECONDS = 1 / holds.TICKS_PER_SECOND
# What libuv takes from epoll in one turn.
_READY_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What each step takes. Units: seconds of CPU; stretch is wall time for each second of CPU.

    Shape: answer and poll are the two halves of a delivery, ended is either of them when many holds end at once. event
        is for taking in one, accept for a connection, record for the grants of a client that the replica does not know.
        nats_record is NATS's part of that, which serves one after the other; when it serves others too, nats_place
        tells how early in a round its answer comes, 0 to 1. A slice ends after so many answers or so many seconds.
    """

    answer: float
    poll: float
    ended: float
    event: float = 0.0
    accept: float = 0.0
    record: float = 0.0
    nats_record: float = 0.0
    nats_place: float = 1.0
    stretch: float = 1.0
    slice_polls: int = fanout.SLICE
    slice_seconds: float = fanout.SLICE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. Shape: hearers are numbers of clients. Units: published, and heard of by the replica, at seconds."""

    published: float
    live: float
    hearers: Sequence[int]


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a simulation saw.

    Shape: held_at has, for each client that connected, when its poll was held at last. Units: seconds; read and
        written are from publishing until a client has an event, and until it was sent to it; busy is of CPU.
    """

    read: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    held_at: dict[int, float] = field(default_factory=dict)
    slowest_answer: float = 0.0
    ended_holds: int = 0
    busy: float = 0.0


class _What(IntEnum):
    """What comes to a replica."""

    EVENT = 0
    CONNECTION = 1
    POLL = 2
    RECORDS = 3
    TICK = 4


class Replica:
    """The loop. Shape: `clients` says when each of them reads its answer and asks again."""

    def __init__(self, costs: Costs, clients: Clients, *, seed: int) -> None:
        self.seen = Seen()
        self._costs = costs
        self._clients = clients
        self._chance = random.Random(seed)  # noqa: S311  # no secret
        self._now = 0.0
        # In the order of time, then of their making: (time, order, what, number of a client or an event).
        self._coming: list[tuple[float, int, _What, int]] = []
        self._order = itertools.count()
        self._events: list[Event] = []
        self._news: dict[int, list[int]] = {}
        self._due: dict[int, float] = {}
        self._woken: deque[int] = deque()
        # Those whose holds have just ended.
        self._rested: set[int] = set()
        self._connected: dict[int, float] = {}
        self._unknown: list[int] = []
        self._batches: deque[list[int]] = deque()
        self._nats_free = 0.0

    def hold(self, polls: int, *, came_together: bool) -> None:
        """Let the first `polls` clients be held: all since now, or each since some moment of its hold."""
        for client in range(polls):
            seconds = self._hold_seconds()
            self._due[client] = seconds if came_together else seconds * self._chance.random()

    def owe(self, event: Event) -> None:
        """Let `event` be in the log, and let its hearers not have read it."""
        self._events.append(event)
        for client in event.hearers:
            self._news.setdefault(client, []).append(len(self._events) - 1)

    def connect(self, client: int, time: float) -> None:
        """Let `client` come on a new connection at `time`."""
        self._push(time, _What.CONNECTION, client)

    def publish(self, event: Event) -> None:
        """Let `event` come."""
        self._events.append(event)
        self._push(event.live, _What.EVENT, len(self._events) - 1)

    def run(self, seconds: float) -> Seen:
        """Turn for so long, and return what was seen."""
        self._push(TICK_SECONDS, _What.TICK, 0)
        while True:
            if not self._woken:
                self._now = max(self._now, self._coming[0][0])
            if self._now > seconds:
                return self.seen
            for _ in range(_READY_AT_ONCE):
                if self._coming[0][0] > self._now:
                    break
                time, _, what, number = heapq.heappop(self._coming)
                self._take(time, what, number)
            self._ask_for_records()
            self._answer_slice()

    def _take(self, time: float, what: _What, number: int) -> None:
        match what:
            case _What.EVENT:
                self._take_event(number)
            case _What.CONNECTION:
                self._connected[number] = time
                self._accept(number)
            case _What.POLL:
                self._spend(self._costs.ended if number in self._rested else self._costs.poll)
                self._rested.discard(number)
                self._consider(number)
            case _What.RECORDS:
                for client in self._batches.popleft():
                    self._spend(self._costs.record)
                    self._consider(client)
            case _What.TICK:
                self._end_holds()
                # Never empty: the loop always has its next tick to wait for.
                self._push(self._now + TICK_SECONDS, _What.TICK, 0)

    def _take_event(self, number: int) -> None:
        self._spend(self._costs.event)
        for client in self._events[number].hearers:
            self._news.setdefault(client, []).append(number)
            if client in self._due:
                self._woken.append(client)

    def _accept(self, client: int) -> None:
        self._spend(self._costs.accept + self._costs.poll)
        for following, time in self._clients.accepted(self._now):
            self.connect(following, time)
        if self._costs.nats_record:
            self._unknown.append(client)
        else:
            self._consider(client)

    def _ask_for_records(self) -> None:
        while self._unknown and len(self._batches) < lookups.MAX_BATCHES:
            batch, self._unknown = self._unknown[: lookups.BATCH], self._unknown[lookups.BATCH :]
            self._batches.append(batch)
            began = max(self._nats_free, self._now)
            takes = len(batch) * self._costs.nats_record * self._costs.stretch
            self._nats_free = began + takes
            self._push(began + takes * self._costs.nats_place, _What.RECORDS, 0)

    def _consider(self, client: int) -> None:
        """Answer when there is news, else hold."""
        if client in self._news:
            self._answer(client, self._costs.answer)
        else:
            self._due[client] = self._now + self._hold_seconds()
            if client in self._connected:
                self.seen.held_at[client] = self._now

    def _answer_slice(self) -> None:
        room, end = self._costs.slice_polls, self._now + self._costs.slice_seconds
        while self._woken and room and self._now < end:
            client = self._woken.popleft()
            # The end of its hold, or an event before, may have answered it meanwhile.
            if self._due.pop(client, None) is not None:
                self._answer(client, self._costs.answer)
                room -= 1

    def _end_holds(self) -> None:
        due = [client for client, time in self._due.items() if time <= self._now and client not in self._news]
        self.seen.ended_holds += len(due)
        for client in due:
            del self._due[client]
            self._rested.add(client)
            self._answer(client, self._costs.ended)

    def _answer(self, client: int, cpu_seconds: float) -> None:
        self._spend(cpu_seconds)
        read, again = self._clients.answered(self._now)
        if (since := self._connected.get(client)) is not None and client not in self.seen.held_at:
            self.seen.slowest_answer = max(self.seen.slowest_answer, read - since)
        for number in self._news.pop(client, ()):
            published = self._events[number].published
            self.seen.read.append(read - published)
            self.seen.written.append(self._now - published)
        self._push(again, _What.POLL, client)

    def _spend(self, cpu_seconds: float) -> None:
        self._now += cpu_seconds * self._costs.stretch
        self.seen.busy += cpu_seconds

    def _push(self, time: float, what: _What, number: int) -> None:
        heapq.heappush(self._coming, (time, next(self._order), what, number))

    def _hold_seconds(self) -> float:
        return HOLD_SECONDS * (SHORTEST_HOLD + (1 - SHORTEST_HOLD) * self._chance.random())
