"""The simulation beside what was measured on one machine.

A second of CPU takes longer than a second where a machine is shared. How much longer is taken from the floor, the C
program that was measured in the same turns: it is simulated too, and what it took longer than that is the stretch. Of
Roots nothing is fitted: its latencies follow from its CPU.
"""

import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.results import Results
from bench.simulation.clients import Load
from bench.simulation.parameters import ANSWER_PART, FANOUT_POLLS, Parameters, cpu_seconds, median, optional, options_of
from bench.simulation.replica import HOLD_SECONDS, SHORTEST_HOLD, TICK_SECONDS, Costs, Event, Replica, Seen

_FIRST_EVENT_SECONDS = 0.1
# Storms of the benchmark are over before the first holds end.
_STORM_SECONDS = 19.0
# As bench.crowd connects, and as bench.storm owes an event to every second client and looks whether all came.
_CONNECTS_AT_ONCE = 256
_LOOK_SECONDS = 0.05
_CLOSE = (-0.4, 0.4)
_FAIR = (-0.5, 0.5)
# No floor goes through a storm, nor through many paths: what a busy machine adds there is not known.
_FAR = (-0.75, 0.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One figure. Shape: bounds are those of the error that a test allows, None for what the model leaves out."""

    what: str
    unit: str
    simulated: float
    measured: float
    bounds: tuple[float, float] | None

    @property
    def error(self) -> float:
        """How far the simulation is off, as a part of what was measured."""
        return self.simulated / self.measured - 1


def compare(results: Results) -> Iterator[Compared]:
    """Simulate every experiment that the model is about, and yield its figures beside those that were measured.

    Errors: LoadError when a figure that is needed was not measured.
    """
    parameters = Parameters.of(results)
    stretches = _stretches(results)
    for polls, stretch in stretches.items():
        yield from _fanout(results, parameters, polls, stretch)
    usual = statistics.median(stretches.values())
    yield from _mixed(results, parameters, usual)
    if optional(results, "at-rest", "roots", "core_percent") is not None:
        yield _at_rest(results, parameters)
    yield from _storm(results, parameters, "roots-pair", "another replica", usual)
    yield from _storm(results, parameters, "roots", "its successor", usual)


def usual_stretch(results: Results) -> float:
    """Return the wall time of a second of CPU, the median over the fan-outs."""
    return statistics.median(_stretches(results).values())


def percentile(values: Sequence[float], part: int) -> float:
    """Return a percentile of `values`."""
    return statistics.quantiles(values, n=100, method="inclusive")[part - 1]


def _stretches(results: Results) -> dict[int, float]:
    return {polls: _stretch_of(results, polls) for polls in FANOUT_POLLS}


def _stretch_of(results: Results, polls: int) -> float:
    name = f"fanout-{polls}"
    delivery = cpu_seconds(results, name, "floor", "cpu_us_per_delivery")
    costs = Costs(
        answer=delivery * ANSWER_PART,
        poll=delivery * (1 - ANSWER_PART),
        ended=0.0,
        slice_polls=polls,
        slice_seconds=HOLD_SECONDS,
    )
    load = Load(delivery=cpu_seconds(results, name, "floor", "client_us_per_delivery"))
    seen = _steady(results, name, costs, load, log_seconds=0.0, everybody=range(polls))
    return median(results, name, "floor", "p99_ms") / (percentile(seen.read, 99) * 1000)


def _fanout(results: Results, parameters: Parameters, polls: int, stretch: float) -> Iterator[Compared]:
    name = f"fanout-{polls}"
    load = Load(delivery=cpu_seconds(results, name, "roots", "client_us_per_delivery") * stretch)
    costs = parameters.costs(polls, stretch=stretch)
    seen = _steady(results, name, costs, load, log_seconds=parameters.log_seconds, everybody=range(polls))
    yield from _percentiles(results, name, f"event to {polls:,} polls", seen, {50: _FAIR, 90: _CLOSE, 99: _CLOSE})


def _mixed(results: Results, parameters: Parameters, stretch: float) -> Iterator[Compared]:
    options = options_of(results, "mixed", "roots")
    load = Load(delivery=cpu_seconds(results, "mixed", "roots", "client_us_per_delivery") * stretch)
    costs = parameters.costs(options["polls"] * options["paths_of_poll"] / options["paths"], stretch=stretch)
    seen = _steady(results, "mixed", costs, load, log_seconds=parameters.log_seconds, everybody=None)
    what = f"{options['events_per_second']} events a second on {options['paths']:,} paths"
    # Each event finds the process asleep: what waking takes is in the CPU, and how its tail is spread is not.
    yield from _percentiles(results, "mixed", what, seen, {50: _FAR, 99: None})


def _percentiles(
    results: Results, name: str, what: str, seen: Seen, bounds: dict[int, tuple[float, float] | None]
) -> Iterator[Compared]:
    for part, allowed in bounds.items():
        yield Compared(
            what=f"{what}: p{part}",
            unit="ms",
            simulated=percentile(seen.read, part) * 1000,
            measured=median(results, name, "roots", f"p{part}_ms"),
            bounds=allowed,
        )


def _steady(
    results: Results, name: str, costs: Costs, load: Load, *, log_seconds: float, everybody: Sequence[int] | None
) -> Seen:
    """Send events at the pace of an experiment, to `everybody` or to those who hear one of many paths."""
    options = options_of(results, name, "roots")
    polls, rate = options["polls"], options["events_per_second"]
    chance = random.Random(1)  # noqa: S311  # no secret
    replica = Replica(costs, load, seed=1)
    replica.hold(polls, came_together=True)
    for number in range(int(rate * options["seconds"])):
        hearers = everybody
        if hearers is None:
            hearers = chance.sample(range(polls), polls * options["paths_of_poll"] // options["paths"])
        published = _FIRST_EVENT_SECONDS + number / rate
        replica.publish(Event(published=published, live=published + log_seconds, hearers=hearers))
    return replica.run(options["seconds"] + 1.0)


def _at_rest(results: Results, parameters: Parameters) -> Compared:
    options = options_of(results, "at-rest", "roots")
    polls, seconds = options["polls"], options["seconds"]
    # They began together, so that their ends are within a part of a hold, and those of one tick are answered at once.
    at_once = polls / (HOLD_SECONDS * (1 - SHORTEST_HOLD)) * TICK_SECONDS
    costs = parameters.costs(at_once, ends_at_once=at_once)
    load = Load(delivery=cpu_seconds(results, "fanout-1000", "roots", "client_us_per_delivery"))
    replica = Replica(costs, load, seed=1)
    replica.hold(polls, came_together=True)
    seen = replica.run(seconds)
    return Compared(
        what=f"{polls:,} polls at rest: CPU",
        unit="% of a core",
        simulated=100 * (parameters.idle_core_part + seen.busy / seconds),
        measured=median(results, "at-rest", "roots", "core_percent"),
        bounds=_FAIR,
    )


def _storm(results: Results, parameters: Parameters, target: str, whereto: str, stretch: float) -> Iterator[Compared]:
    polls = options_of(results, "storm", target)["polls"]
    knows_records = target == "roots-pair"
    connection = parameters.load_connection * stretch
    load = Load(
        delivery=cpu_seconds(results, "fanout-10000", "roots", "client_us_per_delivery") * stretch,
        connection=connection,
        waiting=range(_CONNECTS_AT_ONCE, polls),
    )
    replica = Replica(parameters.costs(polls, stretch=stretch, knows_records=knows_records), load, seed=1)
    replica.owe(Event(published=0.0, live=0.0, hearers=range(0, polls, 2)))
    for client in range(_CONNECTS_AT_ONCE):
        replica.connect(client, (client + 1) * connection)
    seen = replica.run(_STORM_SECONDS)
    yield Compared(
        what=f"{polls:,} clients come to {whereto}: all are held",
        unit="s",
        simulated=max(seen.held_at.values()) + _LOOK_SECONDS,
        measured=median(results, "storm", target, "caught_up_seconds"),
        bounds=_FAR,
    )
    yield Compared(
        what=f"{polls:,} clients come to {whereto}: slowest answer",
        unit="s",
        simulated=seen.slowest_answer,
        measured=median(results, "storm", target, "slowest_answer_seconds"),
        # The slowest of ten thousand met a pause of the machine, unless all of them waited for their records.
        bounds=None if knows_records else _FAR,
    )
