"""What more clients need than were measured: how late events are, how many replicas it takes, how a death heals.

Every replica has the costs that were measured, on a core of its own, and clients with round trips of their own.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.results import Results
from bench.simulation.check import percentile, usual_stretch
from bench.simulation.clients import World
from bench.simulation.parameters import Parameters
from bench.simulation.replica import HOLD_SECONDS, SHORTEST_HOLD, TICK_SECONDS, Costs, Event, Replica
from roots_longpoll.delivery.poll import Limits
from roots_longpoll.stream import lookups, reader

POPULATIONS = (1_000_000, 10_000_000)
# Log-normal: one round trip in a hundred is over four times the median.
ROUND_TRIP_SECONDS = 0.05
ROUND_TRIP_SIGMA = 0.6
# What is left of a core is for bursts, rollouts and neighbours.
CORE_PART = 0.6
NATS_SERVERS = 3
# How long a client stays, and how often the record of one that stays is written anew: half of its life.
VISIT_SECONDS = 1800.0
RECORD_SECONDS = 1800.0
# How many polls each replica holds before others die.
STORM_POLLS = 25_000
_BEGIN_SECONDS = 0.5
_MEAN_HOLD_SECONDS = HOLD_SECONDS * (1 + SHORTEST_HOLD) / 2
_BROADCASTS = 6
_SECONDS = 2.0
# A simulation of single events goes on until so many deliveries, at most so long.
_DELIVERIES = 4_000
_LONGEST_SECONDS = 60.0
_STORM_SECONDS = 19.0
# So many of the replicas that are left are simulated.
_PLACES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """Units: seconds from publishing an event until its answer is sent, for half of the clients and for 99 of 100."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Clients whose replicas died, and the moments in which they were held again, ascending. Units: seconds."""

    what: str
    held: Sequence[float]


class Projection:
    """Many replicas, by the figures of one."""

    def __init__(self, results: Results) -> None:
        self.parameters = Parameters.of(results)
        self._stretch = usual_stretch(results)

    def broadcast(self, polls: int, events_per_second: float) -> Delay:
        """Simulate events that all `polls` of a replica hear, and nothing else."""
        replica = Replica(self._costs(polls, polls, self._stretch), _world(), seed=1)
        replica.hold(polls, came_together=False)
        for number in range(_BROADCASTS):
            replica.publish(self._event(_BEGIN_SECONDS + number / events_per_second, range(polls)))
        written = replica.run(_BEGIN_SECONDS + _BROADCASTS / events_per_second + _SECONDS).written
        return Delay(p50=percentile(written, 50), p99=percentile(written, 99))

    def steady(self, clients: int, replicas: int, events_per_second: float, hearers: float) -> Delay:
        """Simulate one of `replicas`; each event, at a moment taken by chance, is heard by so many of all clients."""
        polls, here = clients // replicas, hearers / replicas
        chance = random.Random(3)  # noqa: S311  # no secret
        # What changes of grants take of the core is not there for polls.
        stretch = self._stretch / (1 - self._stretch * self._grants_part(clients))
        replica = Replica(self._costs(polls, here, stretch), _world(), seed=1)
        replica.hold(polls, came_together=False)
        end = _BEGIN_SECONDS + min(_LONGEST_SECONDS, max(_SECONDS, _DELIVERIES / (events_per_second * here)))
        time = _BEGIN_SECONDS
        while (time := time + chance.expovariate(events_per_second)) < end:
            count = min(polls, math.floor(here) + (chance.random() < here % 1))
            replica.publish(self._event(time, chance.sample(range(polls), count)))
        written = replica.run(end + _SECONDS).written
        return Delay(p50=percentile(written, 50), p99=percentile(written, 99))

    def core_part(self, clients: int, replicas: int, events_per_second: float, hearers: float) -> float:
        """Return how much of its core each of `replicas` uses."""
        parameters = self.parameters
        here, polls = hearers / replicas, clients / replicas
        delivery = max(0.0, parameters.delivery(here) - parameters.event / max(1.0, here))
        return self._stretch * (
            events_per_second * (parameters.event + here * delivery)
            + polls / _MEAN_HOLD_SECONDS * parameters.delivery(_ends_at_once(polls))
            + self._grants_part(clients)
            + parameters.idle_core_part
        )

    def replicas(self, clients: int, events_per_second: float, hearers: float) -> int | None:
        """Return how many replicas stay below their part of a core; None when no number does."""
        # What each replica has to do, however many there are.
        common = events_per_second * self.parameters.event + self._grants_part(clients) + self.parameters.idle_core_part
        if self._stretch * common >= CORE_PART:
            return None
        fewest = math.ceil(clients / Limits().max_held)

        def is_enough(replicas: int) -> bool:
            return self.core_part(clients, replicas, events_per_second, hearers) <= CORE_PART

        if is_enough(fewest):
            return fewest
        few, many = fewest, fewest * 2
        while not is_enough(many):
            few, many = many, many * 2
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (few, middle) if is_enough(middle) else (middle, many)
        return many

    def storms(self, clients: int) -> Iterator[Storm]:
        """Simulate deaths: of one replica, whose clients' grants the others know or do not, and of a third of all."""
        replicas = clients // STORM_POLLS
        yield self._storm("one replica dies", replicas, 1, knows_records=True)
        yield self._storm("one dies, its grants unknown to the others", replicas, 1, knows_records=False)
        yield self._storm("a third of all die", replicas, replicas // 3, knows_records=True)

    @property
    def cold_replicas(self) -> int:
        """How many replicas may ask NATS for as many records as they can, and have each question answered in time."""
        waiting = lookups.MAX_BATCHES * lookups.BATCH * self.parameters.nats_record
        return math.floor(reader.REQUEST_SECONDS * NATS_SERVERS / waiting)

    def _costs(self, polls: int, hearers: float, stretch: float) -> Costs:
        return self.parameters.costs(hearers, ends_at_once=_ends_at_once(polls), stretch=stretch)

    def _grants_part(self, clients: int) -> float:
        return grant_changes_per_second(clients) * self.parameters.grant_change

    def _storm(self, what: str, replicas: int, dead: int, *, knows_records: bool) -> Storm:
        left = replicas - dead
        costs = self.parameters.costs(1.0, stretch=self._stretch, knows_records=knows_records)
        # The servers share out the questions of all replicas, each of which waits for those of the others.
        costs = replace(costs, nats_record=costs.nats_record * left / NATS_SERVERS)
        held: list[float] = []
        for place in range(1, _PLACES + 1):
            world = _world()
            replica = Replica(replace(costs, nats_place=place / _PLACES), world, seed=place)
            for client in range(math.ceil(dead * STORM_POLLS / left)):
                # The gateway asks another replica as soon as a connection breaks.
                replica.connect(client, world.answered(0.0)[0])
            held += replica.run(_STORM_SECONDS).held_at.values()
        return Storm(what=what, held=sorted(held))

    def _event(self, published: float, hearers: Sequence[int]) -> Event:
        return Event(published=published, live=published + self.parameters.log_seconds, hearers=hearers)


def grant_changes_per_second(clients: int) -> float:
    """Return how often some client connects, or has its record written anew."""
    return clients / VISIT_SECONDS + clients / RECORD_SECONDS


def _ends_at_once(polls: float) -> float:
    """Return how many holds end at the same tick."""
    return polls / _MEAN_HOLD_SECONDS * TICK_SECONDS


def _world() -> World:
    return World(median=ROUND_TRIP_SECONDS, sigma=ROUND_TRIP_SIGMA, seed=2)
