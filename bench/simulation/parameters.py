"""What the simulation is made of: figures that `make bench` measured, and the few that are assumed.

Everything measured is read from bench/results/results.json, so that a new measurement makes a new simulation.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

from bench.errors import LoadError
from bench.results import Results
from bench.simulation.replica import Costs

FANOUT_POLLS = (1_000, 5_000, 10_000)
# Half of a delivery is the answer, half takes the next poll: what was measured is their sum.
ANSWER_PART = 0.5
_MICROSECOND = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What each step takes. Units: seconds of CPU where the name does not say another.

    Shape: deliveries has pairs: so many clients hear an event at one replica, and one delivery takes so long there.
        accept is for a connection, load_connection for the load's side of it; record for the grants of a client that a
        replica does not know, nats_record for NATS's part of that; grant_change for a change, which every replica
        hears of.
    """

    deliveries: tuple[tuple[float, float], ...]
    event: float
    accept: float
    load_connection: float
    record: float
    nats_record: float
    grant_change: float
    log_seconds: float
    idle_core_part: float

    @classmethod
    def of(cls, results: Results) -> "Parameters":
        """Take the medians of `results`. Errors: LoadError when one that is needed was not measured."""
        mixed = options_of(results, "mixed", "roots")
        hearers = mixed["polls"] * mixed["paths_of_poll"] / mixed["paths"]
        sizes = {"unicast": 1.0, "mixed": hearers, **{f"fanout-{polls}": float(polls) for polls in FANOUT_POLLS}}
        deliveries = tuple(
            (size, cpu_seconds(results, name, "roots", "cpu_us_per_delivery")) for name, size in sizes.items()
        )
        warm = deliveries[-1][1]
        load = cpu_seconds(results, "fanout-10000", "roots", "client_us_per_delivery")
        pair, successor = (
            {
                name: cpu_seconds(results, "storm", target, f"{name}_us_per_client")
                for name in ("replica", "nats", "client")
            }
            for target in ("roots-pair", "roots")
        )
        return cls(
            deliveries=deliveries,
            event=cpu_seconds(results, "costs", "roots", "unheard_event_us"),
            # Each client of a storm polls once, and every second one is answered and polls again.
            accept=pair["replica"] - warm * (1 - ANSWER_PART) - warm / 2,
            load_connection=pair["client"] - load / 2,
            record=successor["replica"] - pair["replica"],
            nats_record=successor["nats"] - pair["nats"],
            grant_change=cpu_seconds(results, "subscribe", "subscriptions", "longpoll_us_per_connect"),
            log_seconds=median(results, "unicast", "roots", "half_p50_ms") / 1000,
            idle_core_part=median(results, "idle", "roots", "core_percent") / 100,
        )

    def delivery(self, hearers: float) -> float:
        """Return what one delivery takes when `hearers` hear the event, between the sizes that were measured."""
        if hearers <= self.deliveries[0][0]:
            return self.deliveries[0][1]
        for (few, dear), (many, cheap) in itertools.pairwise(self.deliveries):
            if hearers <= many:
                part = math.log(hearers / few) / math.log(many / few)
                return dear + (cheap - dear) * part
        return self.deliveries[-1][1]

    def costs(
        self, hearers: float, *, ends_at_once: float = 1.0, stretch: float = 1.0, knows_records: bool = True
    ) -> Costs:
        """Return the costs of a replica at which `hearers` hear an event, and so many holds end at a tick."""
        # What an event takes beside its deliveries is in those that were measured.
        delivery = max(0.0, self.delivery(hearers) - self.event / max(1.0, hearers))
        return Costs(
            answer=delivery * ANSWER_PART,
            poll=delivery * (1 - ANSWER_PART),
            ended=self.delivery(ends_at_once) / 2,
            event=self.event,
            accept=self.accept,
            record=0.0 if knows_records else self.record,
            nats_record=0.0 if knows_records else self.nats_record,
            stretch=stretch,
        )


def median(results: Results, experiment: str, target: str, figure: str) -> float:
    """Return one measured figure. Errors: LoadError when it was not measured."""
    value = optional(results, experiment, target, figure)
    if value is None:
        raise LoadError(_missing(experiment, f"{figure} of {target}"))
    return value


def cpu_seconds(results: Results, experiment: str, target: str, figure: str) -> float:
    """Return one measured figure that is in microseconds. Errors: LoadError when it was not measured."""
    return median(results, experiment, target, figure) * _MICROSECOND


def optional(results: Results, experiment: str, target: str, figure: str) -> float | None:
    """Return one measured figure, None when it was not measured."""
    measured = results.of(experiment).get(target)
    return measured.median(figure) if measured is not None else None


def options_of(results: Results, experiment: str, target: str) -> dict[str, Any]:
    """Return what was asked for in one experiment. Errors: LoadError when it is not in the results."""
    measured = results.of(experiment).get(target)
    if measured is None:
        raise LoadError(_missing(experiment, target))
    return measured.options


def _missing(experiment: str, what: str) -> str:
    return f"the results have no {what} in {experiment}: measure it with python -m bench --only {experiment}"
