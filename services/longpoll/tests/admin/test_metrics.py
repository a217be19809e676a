"""What Prometheus reads."""

import re

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.parser import text_string_to_metric_families

from roots_longpoll.admin.metrics import StatsCollector, shown
from roots_longpoll.config import Config
from roots_longpoll.delivery.ring import Event
from roots_longpoll.delivery.stats import DELIVERY_BOUNDS_SECONDS, Histogram, Outcome, Stats
from roots_longpoll.replica import Replica

NAME = re.compile(r"roots_longpoll_[a-z_]+")
LABELS = {"outcome", "stage", "kind", "reason", "stream", "result", "method", "route", "status", "le"}


@pytest.fixture
def stats() -> Stats:
    """Return the counts of a replica that has done nothing."""
    return Stats()


def event(committed_ns: int, taken_ns: int = 0) -> Event:
    """Return an event with these times."""
    return Event(seq=1, path="tasks", message=b"", committed_ns=committed_ns, taken_ns=taken_ns)


def scrape(stats: Stats) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return every sample by its name and the sorted values of its labels."""
    figures = [
        *Replica(Config(uid_key="k" * 32, password="secret"))._figures(),
        shown("examples", {"events": 1.0, "grants": 2.0}, Gauge, "Two figures.", "stream"),
    ]
    registry = CollectorRegistry()
    registry.register(StatsCollector(stats, lambda: figures))
    text = prometheus_client.generate_latest(registry).decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        assert NAME.fullmatch(family.name)
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert set(sample.labels) <= LABELS
            samples[sample.name, tuple(sorted(sample.labels.values()))] = sample.value
    return samples


def test_every_sample_parses_when_nothing_has_happened(stats: Stats) -> None:
    """Series exist from the start, so that a rate over them is right; none has a uid or a path as a label."""
    samples = scrape(stats)
    assert 0 == samples["roots_longpoll_gaps_total", ("epoch",)]
    assert 0 == samples["roots_longpoll_deliveries_total", ()]
    assert 0 == samples["roots_longpoll_http_requests_total", ("/{uid}/{cursor}", "200", "GET")]
    assert {outcome.name.lower() for outcome in Outcome} == {
        labels[0] for name, labels in samples if name == "roots_longpoll_hold_seconds_count"
    }


def test_counts_come_out_when_things_have_happened(stats: Stats) -> None:
    """Each count is where its name says."""
    stats.count_deliveries([event(10**9), event(0)], 2 * 10**9, 5)
    stats.count_answer("/")
    stats.count_answer("/")
    stats.count_request("GET", "unmatched", 404)
    stats.hold[Outcome.EVENT].observe(1.5)
    samples = scrape(stats)
    assert 10 == samples["roots_longpoll_deliveries_total", ()]
    assert 5 == samples["roots_longpoll_delivery_seconds_bucket", ("1.0",)]
    assert (10, 15.0) == (
        samples["roots_longpoll_delivery_seconds_bucket", ("+Inf",)],
        samples["roots_longpoll_delivery_seconds_sum", ()],
    )
    assert 2 == samples["roots_longpoll_http_requests_total", ("/", "200", "GET")]
    assert 1 == samples["roots_longpoll_http_requests_total", ("404", "GET", "unmatched")]
    assert (0, 1) == (
        samples["roots_longpoll_hold_seconds_bucket", ("1.0", "event")],
        samples["roots_longpoll_hold_seconds_bucket", ("2.0", "event")],
    )
    assert 50_000 == samples["roots_longpoll_polls_held_limit", ()]
    assert 2 == samples["roots_longpoll_examples", ("grants",)]


def test_delivery_is_never_negative_when_clocks_differ(stats: Stats) -> None:
    """The commit's clock may be ahead of ours."""
    stats.count_deliveries([event(5 * 10**9, 5 * 10**9)], 10**9, 1)
    stats.count_arrival(5 * 10**9, 10**9, 1)
    assert [0.0] * 4 == [stats.delivery.sum, *(stage.sum for stage in stats.stages)]


def test_stages_add_up_to_the_delivery_when_an_event_comes_live(stats: Stats) -> None:
    """What a dashboard stacks is what the client waited for."""
    stats.count_arrival(10**9, 3 * 10**9, 4 * 10**9)
    stats.count_deliveries([event(10**9, 4 * 10**9)], 9 * 10**9, 1)
    assert [2.0, 1.0, 5.0] == [stage.sum for stage in stats.stages]
    assert 8.0 == stats.delivery.sum
    assert 1 == scrape(stats)["roots_longpoll_stage_seconds_count", ("commit_to_broker",)]


def test_stages_are_not_counted_when_the_brokers_time_is_unknown(stats: Stats) -> None:
    """A header that is missing or unreadable makes no stage of fifty years."""
    stats.count_arrival(10**9, 0, 4 * 10**9)
    assert 0 == sum(sum(stage.counts) for stage in stats.stages)


def test_event_is_no_delivery_latency_when_its_client_came_later(stats: Stats) -> None:
    """How long a client stayed away is told apart from how long Roots took."""
    came_before, read_for_it = event(0, 10**9), event(0)
    while_held = event(0, 3 * 10**9)
    stats.count_answered([came_before, read_for_it, while_held], 4 * 10**9, 2.0)
    assert (3, 1, 2) == (stats.deliveries, sum(stats.delivery.counts), sum(stats.catch_up.counts))


@pytest.mark.parametrize(("seconds", "place"), [(0.0, 0), (0.001, 0), (0.0011, 1), (3600.0, -2), (3600.1, -1)])
def test_histogram_counts_up_to_its_bound_when_a_value_is_on_it(seconds: float, place: int) -> None:
    """A bucket's bound belongs to it, as Prometheus says (`le`)."""
    histogram = Histogram(DELIVERY_BOUNDS_SECONDS)
    histogram.observe(seconds, 2)
    assert (2, seconds * 2) == (histogram.counts[place], histogram.sum)
