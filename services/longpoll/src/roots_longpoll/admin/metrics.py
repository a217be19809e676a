"""Prometheus families of one replica, made from plain integers when they are asked for.

Hold time and delivery time are kept apart: a parked poll would ruin a histogram of latency.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from prometheus_client import samples
from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily, Metric

from roots_longpoll.delivery.stats import Histogram, Outcome, Stage, Stats
from roots_longpoll.http.connection import POLL_ROUTE

_P = "roots_longpoll"


ByLabel: TypeAlias = Mapping[str, float]


class StatsCollector:
    """Turns `Stats` into families. Shape: figures returns more of them, in any thread, so it only reads."""

    def __init__(self, stats: Stats, figures: Callable[[], Iterable[Metric]]) -> None:
        self._stats = stats
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """Return every family."""
        yield from self._histograms()
        yield from self._counters()
        yield from self._figures()

    def _histograms(self) -> Iterable[Metric]:
        hold = HistogramMetricFamily(
            f"{_P}_hold_seconds", "From a poll's arrival to its end, seconds, by how it ended.", labels=["outcome"]
        )
        for outcome in Outcome:
            _add(hold, [outcome.name.lower()], self._stats.hold[outcome])
        yield hold
        delivery = HistogramMetricFamily(
            f"{_P}_delivery_seconds",
            "From an event's commit to the write of the answer of a poll that was held, seconds.",
        )
        _add(delivery, [], self._stats.delivery)
        yield delivery
        catch_up = HistogramMetricFamily(
            f"{_P}_catch_up_seconds", "Age of events that a poll found when it came, seconds; the client was away."
        )
        _add(catch_up, [], self._stats.catch_up)
        yield catch_up
        stages = HistogramMetricFamily(
            f"{_P}_stage_seconds",
            "What delivery_seconds consists of: commit_to_broker and broker_to_replica for each event that came live, "
            "replica_to_write for each delivery, seconds.",
            labels=["stage"],
        )
        for stage in Stage:
            _add(stages, [stage.name.lower()], self._stats.stages[stage])
        yield stages

    def _counters(self) -> Iterable[Metric]:
        stats = self._stats
        yield shown("events", stats.events, Counter, "Events taken in from the stream.")
        yield shown("deliveries", stats.deliveries, Counter, "Events written, one for each event and client.")
        yield shown("uids_minted", stats.uids_minted, Counter, "Clients begun.")
        yield shown("connections_refused", stats.connections_refused, Counter, "Connections over the limit.")
        yield shown("slow_clients", stats.slow_clients, Counter, "Connections cut off: their client did not read.")
        yield shown("gaps", stats.gaps, Counter, "Gaps reported to clients, by reason.", "reason")
        help_text = "Polls refused: full, the view of NATS is stale, or NATS left a question unanswered."
        yield shown("refusals", stats.refusals, Counter, help_text, "reason")
        help_text = "What of the log or of a grant record could not be read, each time, by kind."
        yield shown("unreadable", stats.unreadable.counts, Counter, help_text, "kind")
        yield self._requests()

    def _requests(self) -> Metric:
        family = Counter(f"{_P}_http_requests", "HTTP requests answered.", labels=["method", "route", "status"])
        answers = dict(self._stats.answers)
        answers[POLL_ROUTE] = answers.get(POLL_ROUTE, 0) + self._stats.shared_answers
        for route, count in answers.items():
            family.add_metric(["GET", route, "200"], count)
        for (method, route, status), count in dict(self._stats.requests).items():
            family.add_metric([method, route, str(status)], count)
        return family


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    counts, exemplars = list(histogram.counts), dict(histogram.exemplars)
    total = 0
    buckets: list[tuple[str, float] | tuple[str, float, samples.Exemplar]] = []
    for place, (bound, count) in enumerate(zip([*map(str, histogram.bounds), "+Inf"], counts, strict=True)):
        total += count
        last = exemplars.get(place)
        if last is None:
            buckets.append((bound, total))
        else:
            exemplar = samples.Exemplar({"trace_id": last.trace_id}, last.seconds, last.at_ns / 1e9)
            buckets.append((bound, total, exemplar))
    family.add_metric(labels, buckets, histogram.sum)


def shown(
    name: str,
    value: float | ByLabel,
    family: type[Counter | Gauge],
    help_text: str,
    label: str | None = None,
) -> Metric:
    """Return a family with one figure. Shape: a figure with a label is a mapping by the label's values."""
    metric = family(f"{_P}_{name}", help_text, labels=() if label is None else (label,))
    for labels, one in [((key,), one) for key, one in value.items()] if isinstance(value, Mapping) else [((), value)]:
        metric.add_metric(labels, one)
    return metric
