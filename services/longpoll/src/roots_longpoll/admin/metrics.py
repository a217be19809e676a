"""Prometheus families of one replica, made from plain integers when they are asked for.

Hold time and delivery time are kept apart: a parked poll would ruin a histogram of latency.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import samples
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from roots_longpoll.delivery.stats import Histogram, Outcome, Stage, Stats
from roots_longpoll.http.connection import POLL_ROUTE

_P = "roots_longpoll"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one replica has at one moment, beside what `Stats` counts. Shape: repairs and its like are by stream."""

    polls_held: float
    polls_held_limit: float
    connections: float
    connections_limit: float
    held_paths: float
    ring_events: float
    ring_bytes: float
    ring_limit_bytes: float
    ring_reach_seconds: float
    ring_evicted: float
    clients_cached: float
    broker_connected: float
    nats_connects: float
    clock_skew_seconds: float
    view_age_seconds: Mapping[str, float]
    repairs: Mapping[str, float]
    repaired_messages: Mapping[str, float]
    replays: Mapping[str, float]


class StatsCollector:
    """Turns `Stats` and `Figures` into families. Shape: figures is called in any thread, so it only reads."""

    def __init__(self, stats: Stats, figures: Callable[[], Figures]) -> None:
        self._stats = stats
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        """Return every family."""
        figures = self._figures()
        yield from self._histograms()
        yield from self._counters(figures)
        yield from self._current(figures)

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

    def _counters(self, figures: Figures) -> Iterable[Metric]:
        stats = self._stats
        yield _counter("events", "Events taken in from the stream.", stats.events)
        yield _counter("deliveries", "Events written to clients: one for each event and client.", stats.deliveries)
        yield _counter("uids_minted", "Clients begun.", stats.uids_minted)
        yield _counter("connections_refused", "Connections over the limit.", stats.connections_refused)
        yield _counter("slow_clients", "Connections cut off since their client did not read.", stats.slow_clients)
        yield _counter("ring_evicted", "Events that left the ring for want of room.", figures.ring_evicted)
        yield _counter("nats_connects", "Connections for live messages made.", figures.nats_connects)
        yield _labelled("gaps", "Gaps reported to clients, by reason.", "reason", stats.gaps)
        yield _labelled(
            "refusals", "Polls refused: full, the view of NATS is stale, or NATS left a question unanswered.", "reason",
            stats.refusals,
        )  # fmt: skip
        yield _labelled(
            "unreadable", "What of the log or of a grant record could not be read, each time, by kind.", "kind",
            stats.unreadable.counts,
        )  # fmt: skip
        yield _labelled("repairs", "Holes of the live way read from the stream.", "stream", figures.repairs)
        yield _labelled("repaired_messages", "Messages that the live way lost.", "stream", figures.repaired_messages)
        yield _labelled("replays", "Backlogs read from the stream, by result.", "result", figures.replays)
        yield self._requests()

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            f"{_P}_http_requests", "HTTP requests answered.", labels=["method", "route", "status"]
        )
        answers = dict(self._stats.answers)
        answers[POLL_ROUTE] = answers.get(POLL_ROUTE, 0) + self._stats.shared_answers
        for route, count in answers.items():
            family.add_metric(["GET", route, "200"], count)
        for (method, route, status), count in dict(self._stats.requests).items():
            family.add_metric([method, route, str(status)], count)
        return family

    @staticmethod
    def _current(figures: Figures) -> Iterable[Metric]:
        yield _gauge("polls_held", "Polls that wait now.", figures.polls_held)
        yield _gauge("polls_held_limit", "Polls that may wait at a time.", figures.polls_held_limit)
        yield _gauge("connections_limit", "Connections that may be open at a time.", figures.connections_limit)
        yield _gauge("connections", "Open connections.", figures.connections)
        yield _gauge("held_paths", "Paths that at least one held poll waits on.", figures.held_paths)
        yield _gauge("ring_events", "Events in the ring.", figures.ring_events)
        yield _gauge("ring_bytes", "Bytes of the ring.", figures.ring_bytes)
        yield _gauge("ring_limit_bytes", "Bytes that the ring may have.", figures.ring_limit_bytes)
        yield _gauge("ring_reach_seconds", "Age of the oldest event in the ring.", figures.ring_reach_seconds)
        yield _gauge("clients_cached", "Clients whose grants are in the view.", figures.clients_cached)
        yield _gauge("broker_connected", "1 while NATS is connected.", figures.broker_connected)
        yield _gauge(
            "clock_skew_seconds",
            "How far this machine's clock is ahead of that of NATS, at least.",
            figures.clock_skew_seconds,
        )
        age = GaugeMetricFamily(
            f"{_P}_view_age_seconds", "Since the view of a stream was known to be complete.", labels=["stream"]
        )
        for stream, seconds in figures.view_age_seconds.items():
            age.add_metric([stream], seconds)
        yield age


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


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_P}_{name}", help_text, value=value)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_P}_{name}", help_text, value=value)


def _labelled(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"{_P}_{name}", help_text, labels=[label])
    for value, count in dict(values).items():
        family.add_metric([value], count)
    return family
