"""What a system needs for its clients and events: a formula over measured costs, and how near it is to measurements.

The formula has CPU, memory, and the mean time of a delivery. It has no tails: a p99 is only what was measured.
May import: measurements, constants of roots and roots_longpoll.
"""

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from bench.measurements import Measurement, Measurements
from roots.contracts.subjects import GRANT_LIFETIME_SECONDS
from roots.contracts.timing import DEFAULT_HOLD_SECONDS
from roots.nats import reader
from roots_longpoll.delivery.poll import Limits
from roots_longpoll.stream import lookups

FANOUT_POLLS = (1_000, 5_000, 10_000)
# The rest of a core is for bursts, rolling updates and neighbours.
CORE_PART = 0.6
MOST_REPLICAS = 10_000
NATS_SERVERS = 3
VISIT_SECONDS = 1800.0
# The mean of holds of 0.8 to 1.0 of their time.
MEAN_HOLD_SECONDS = DEFAULT_HOLD_SECONDS * 0.9
# HAProxy as decided in docs/adr/0014-haproxy.md: its memory for a held poll after 8 rounds, and its CPU for an answer
# with the next poll. make bench does not measure it.
GATEWAY_POLL_BYTES = 8_400
GATEWAY_DELIVERY_SECONDS = 40e-6
# docs/adr/0008-grants-are-found-in-memory.md: 25,000 records take 16 MB in the index of each replica.
INDEX_BYTES_PER_CLIENT = 640
TOLERANCE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure by the formula beside its measurement. Shape: is_covered says whether it must be within TOLERANCE."""

    what: str
    computed: float
    measured: float
    is_covered: bool = True

    @classmethod
    def of(
        cls, row: Measurement, what: str, figure: str, computed: float, *, scale: float = 1.0, is_covered: bool = True
    ) -> "Check":
        """Compare with `figure` of `row`, multiplied by `scale`. Errors: LoadError when it was not measured."""
        return cls(what=what, computed=computed, measured=row.median(figure) * scale, is_covered=is_covered)

    @property
    def error(self) -> float:
        """How far the formula is off, as a part of the measurement."""
        return self.computed / self.measured - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What clients and publishers do. Shape: each event has so many receivers among all clients."""

    clients: int
    receivers: int
    events_per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a load needs.

    Shape: core_part and replica_bytes are of each replica of longpoll, gateway_cores of all gateways together.
    Units: delivery_seconds is the mean from publishing an event until its answer is sent.
    """

    replicas: int
    core_part: float
    replica_bytes: float
    gateway_cores: float
    delivery_seconds: float


class Capacity:
    """The formula. Units: seconds of CPU, bytes. Errors: LoadError when a cost was not measured."""

    def __init__(self, measurements: Measurements) -> None:
        self._measurements = measurements
        idle, rest, mixed = (measurements.of(name) for name in ("idle", "at-rest", "mixed"))
        subscribe = measurements.of("subscribe", "subscriptions")
        self.poll_bytes = idle.median("memory_bytes_per_poll")
        smallest = measurements.of(f"fanout-{FANOUT_POLLS[0]}")
        self.process_bytes = smallest.median("memory_bytes") - FANOUT_POLLS[0] * self.poll_bytes
        self.rest: float = rest.median("core_percent") / 100 / rest.options["polls"]
        self.connect = subscribe.seconds("service_us_per_connect")
        self.grant_change = subscribe.seconds("longpoll_us_per_connect")
        moved, restarted = measurements.of("storm", "roots-pair"), measurements.of("storm")
        self.reconnect = moved.seconds("replica_us_per_client")
        self.reconnect_unknown = restarted.seconds("replica_us_per_client")
        self.nats_record = restarted.seconds("nats_us_per_client")
        # What an event costs one replica, by how many polls there receive it; straight lines join these points.
        self._few: int = mixed.options["polls"] * mixed.options["paths_of_poll"] // mixed.options["paths"]
        sizes = {"unicast": 1, "mixed": self._few} | {f"fanout-{polls}": polls for polls in FANOUT_POLLS}
        self._events: dict[int, float] = {0: measurements.of("costs").seconds("unheard_event_us")} | {
            size: size * measurements.of(name).seconds("cpu_us_per_delivery") for name, size in sizes.items()
        }
        # All before the first answer: the publisher, the sync to disk, and the way to the replica.
        self.log_seconds = mixed.median("p50_ms") / 1000 - self.event(self._few) / 2

    def event(self, receivers: float, *, without: int | None = None) -> float:
        """Return the CPU of a replica for an event with `receivers` there, as if `without` had not been measured."""
        points = sorted((size, cost) for size, cost in self._events.items() if size != without)
        pairs = list(itertools.pairwise(points))
        (few, low), (many, high) = next((pair for pair in pairs if receivers <= pair[1][0]), pairs[-1])
        return low + (high - low) * (receivers - few) / (many - few)

    def median_delivery(self, receivers: float) -> float:
        """Return the p50 of an event that finds the replica idle: half of the receivers are answered before."""
        return self.log_seconds + self.event(receivers) / 2

    def replica_bytes(self, polls: float) -> float:
        """Return the resident set of a replica whose ring of recent events is empty."""
        return self.process_bytes + polls * self.poll_bytes

    def grant_changes(self, clients: int) -> float:
        """Return the records written each second: a connect for each visit, and each record again in half its life."""
        return clients / VISIT_SECONDS + clients / (GRANT_LIFETIME_SECONDS / 2)

    def core_part(self, load: Load, replicas: int) -> float:
        """Return the part of its core that each of `replicas` uses."""
        return (
            load.events_per_second * self.event(load.receivers / replicas)
            + load.clients / replicas * self.rest
            + self.grant_changes(load.clients) * self.grant_change
        )

    def need(self, load: Load) -> Need | None:
        """Return what `load` needs; None when no number of replicas up to MOST_REPLICAS is enough."""
        numbers = range(-(-load.clients // Limits().max_held), MOST_REPLICAS + 1)
        place = bisect.bisect_left(numbers, True, key=lambda number: self.core_part(load, number) <= CORE_PART)
        if place == len(numbers):
            return None
        replicas = numbers[place]
        part, here = self.core_part(load, replicas), load.receivers / replicas
        # Events that come at random moments wait for those before them (M/D/1), then for half of their own receivers.
        waiting = part / (2 * (1 - part)) * self.event(here)
        answers = load.events_per_second * load.receivers + load.clients / MEAN_HOLD_SECONDS
        return Need(
            replicas=replicas,
            core_part=part,
            replica_bytes=self.replica_bytes(load.clients / replicas),
            gateway_cores=answers * GATEWAY_DELIVERY_SECONDS,
            # A client that receives it is one receiver there, and its part of the others is beside it.
            delivery_seconds=self.median_delivery(1 + (load.receivers - 1) / replicas) + waiting,
        )

    @property
    def cold_replicas(self) -> int:
        """How many replicas may ask NATS for as many records as they can, and have each request answered in time."""
        waiting = lookups.MAX_BATCHES * lookups.BATCH * self.nats_record
        return int(reader.REQUEST_SECONDS * NATS_SERVERS / waiting)

    def reconnect_seconds(self, clients: int, replicas: int, *, is_known: bool) -> float:
        """Return how long `replicas` take until they hold the polls of `clients` that come at once."""
        if is_known:
            return clients / replicas * self.reconnect
        return max(clients / replicas * self.reconnect_unknown, clients * self.nats_record / NATS_SERVERS)

    def checks(self) -> Iterator[Check]:
        """Yield figures of the formula beside measured ones that it does not use."""
        for polls in FANOUT_POLLS:
            row, what = self._measurements.of(f"fanout-{polls}"), f"an event to {polls:,} polls"
            yield Check.of(row, f"{what}: p50, ms", "p50_ms", self.median_delivery(polls) * 1000)
            yield self._check_cpu(row, what, polls)
        for name in ("mixed", *(f"fanout-{polls}" for polls in FANOUT_POLLS[1:])):
            row = self._measurements.of(name)
            computed = self.replica_bytes(row.options["polls"]) / 1e6
            yield Check.of(row, f"{name}: resident set of the replica, MB", "memory_bytes", computed, scale=1e-6)
        for target, cost in (("roots-pair", self.reconnect), ("roots", self.reconnect_unknown)):
            row = self._measurements.of("storm", target)
            # The slower of both ends counts: the load has one core too.
            seconds = row.options["polls"] * max(cost, row.seconds("client_us_per_client"))
            yield Check.of(row, f"storm, {target}: all polls are held, s", "caught_up_seconds", seconds)
        writes = self._measurements.of("writes", "writes")
        polls, what = writes.options["polls"], f"a created task to {writes.options['polls']:,} polls"
        yield Check.of(writes, f"{what}: p50, ms", "p50_ms", self.median_delivery(polls) * 1000)
        cpu = self.event(polls) / polls * 1e6
        what = f"{what}, {writes.options['writes_per_second']} a second: CPU for a delivery, µs"
        yield Check.of(writes, what, "cpu_us_per_delivery", cpu, is_covered=False)
        yield self._check_cpu(self._measurements.of("mixed"), "mixed", self._few, is_covered=False)
        what, p50 = "one receiver, half of the most events a second: p50, ms", self.median_delivery(1) * 1000
        yield Check.of(self._measurements.of("unicast"), what, "half_p50_ms", p50, is_covered=False)

    def _check_cpu(self, row: Measurement, what: str, receivers: int, *, is_covered: bool = True) -> Check:
        """Check the CPU of one size by the lines between the others."""
        cpu = self.event(receivers, without=receivers) / receivers * 1e6
        what = f"{what}: CPU for a delivery, by the other sizes, µs"
        return Check.of(row, what, "cpu_us_per_delivery", cpu, is_covered=is_covered)
