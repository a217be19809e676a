"""Counts of the hot path, in plain integers: a label lookup for each delivery would cost as much as the delivery.

`metrics` turns them into Prometheus families when they are asked for.
"""

import enum
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from roots.runtime import logs
from roots_longpoll.delivery.responses import GapReason
from roots_longpoll.delivery.ring import Event

HOLD_BOUNDS_SECONDS = (0.005, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 60.0)
DELIVERY_BOUNDS_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0,
)  # fmt: skip


STAGE_BOUNDS_SECONDS = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip

UnreadableKind = Literal["event_subject", "event_message", "event_time", "event_traceparent", "grant_record"]

log = logs.get(__name__)


class Outcome(enum.IntEnum):
    """How a poll ended."""

    EVENT = 0
    GRANT = 1
    TIMEOUT = 2
    SUPERSEDED = 3
    GAP = 4
    DRAIN = 5
    RENEWED = 6
    GONE = 7
    REFUSED = 8


class Stage(enum.IntEnum):
    """What an event's way to a held poll consists of."""

    COMMIT_TO_BROKER = 0
    BROKER_TO_REPLICA = 1
    REPLICA_TO_WRITE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One of the values that a histogram counts, and its trace."""

    trace_id: str
    seconds: float
    at_ns: int


class Histogram:
    """A histogram of seconds: a count for each bound and one above the last, and the sum.

    Shape: exemplars has the last exemplar of each place in counts that has one.
    """

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: dict[int, Exemplar] = {}
        self.sum = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count `seconds` as seen `count` times."""
        self.counts[bisect_left(self.bounds, seconds)] += count
        self.sum += seconds * count

    def observe_all(self, seconds: list[float]) -> None:
        """Count each of `seconds` once."""
        counts, bounds = self.counts, self.bounds
        for one in seconds:
            counts[bisect_left(bounds, one)] += 1
        self.sum += sum(seconds)

    def exemplify(self, exemplar: Exemplar) -> None:
        """Keep `exemplar` of a value that has been observed."""
        self.exemplars[bisect_left(self.bounds, exemplar.seconds)] = exemplar


class Unreadable:
    """What of NATS could not be read, by kind: counted always, and logged once, so that a flood fills no log."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(get_args(UnreadableKind), 0)

    def note(self, kind: UnreadableKind, seq: int) -> None:
        """Count what the message `seq` of its stream has of `kind`."""
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            log.warning("unreadable", kind=kind, seq=seq)


class Stats:
    """What one replica has done since its start; one event loop writes it, any thread may read it.

    Shape: on_deliveries is called with all that is written to clients, and the histogram that counts it.
    """

    def __init__(self, on_deliveries: Callable[[Sequence[Event], int, int, Histogram], None] | None = None) -> None:
        self._on_deliveries = on_deliveries
        self.hold = [Histogram(HOLD_BOUNDS_SECONDS) for _ in Outcome]
        # To polls that were held when the event came; how long a client stayed away is no matter of ours.
        self.delivery = Histogram(DELIVERY_BOUNDS_SECONDS)
        self.catch_up = Histogram(DELIVERY_BOUNDS_SECONDS)
        self.stages = [Histogram(STAGE_BOUNDS_SECONDS) for _ in Stage]
        self.uids_minted = 0
        self.events = 0
        self.deliveries = 0
        self.gaps = dict.fromkeys(get_args(GapReason), 0)
        self.refusals = dict.fromkeys(("full", "stale", "unanswered"), 0)
        self.answers: dict[str, int] = {}
        # Polls answered by a fan-out; they are in no other count of answers.
        self.shared_answers = 0
        self.requests: dict[tuple[str, str, int], int] = {}
        self.connections = 0
        self.connections_refused = 0
        self.slow_clients = 0
        self.unreadable = Unreadable()

    def count_arrival(self, committed_ns: int, stored_ns: int, taken_ns: int) -> None:
        """Count an event's way here; one whose time in the broker is not known (0) has none."""
        if stored_ns:
            # The clocks are of three machines, whose differences are no time that passed.
            self.stages[Stage.COMMIT_TO_BROKER].observe(max(0, stored_ns - committed_ns) / 1e9)
            self.stages[Stage.BROKER_TO_REPLICA].observe(max(0, taken_ns - stored_ns) / 1e9)

    def count_deliveries(self, events: Sequence[Event], written_ns: int, clients: int) -> None:
        """Count events as written at `written_ns` to so many clients, whose polls were held when they came."""
        for event in events:
            self.deliveries += clients
            self.delivery.observe(event.age_seconds(written_ns), clients)
            self.stages[Stage.REPLICA_TO_WRITE].observe(max(0, written_ns - event.taken_ns) / 1e9, clients)
        if self._on_deliveries is not None:
            self._on_deliveries(events, written_ns, clients, self.delivery)

    def count_answered(self, events: Sequence[Event], written_ns: int, held_seconds: float) -> None:
        """Count events as written at `written_ns` to one client, whose poll had come `held_seconds` before."""
        came_ns = written_ns - int(held_seconds * 1e9)
        self.count_deliveries([event for event in events if event.taken_ns > came_ns], written_ns, 1)
        found = [event for event in events if event.taken_ns <= came_ns]
        self.deliveries += len(found)
        self.catch_up.observe_all([event.age_seconds(written_ns) for event in found])
        if found and self._on_deliveries is not None:
            self._on_deliveries(found, written_ns, 1, self.catch_up)

    def count_answer(self, route: str) -> None:
        """Count one GET answered with 200."""
        self.answers[route] = self.answers.get(route, 0) + 1

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count any other answered request, by its route's template."""
        key = (method, route, status)
        self.requests[key] = self.requests.get(key, 0) + 1
