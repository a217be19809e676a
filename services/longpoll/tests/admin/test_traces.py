"""Which deliveries are reported of, when, and what the histogram keeps of them."""

import time

import pytest

from roots.tracing.tracing import MAX_WRITES, Delivery, Tracing
from roots_longpoll.admin.traces import MAX_OPEN, QUIET_NS, DeliveryTraces
from roots_longpoll.delivery.ring import Event
from roots_longpoll.delivery.stats import DELIVERY_BOUNDS_SECONDS, Histogram, Stats


class Reported(Tracing):
    """Keeps what is reported."""

    is_on = True

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def deliver(self, delivery: Delivery) -> None:
        """Keep it."""
        self.deliveries.append(delivery)


@pytest.fixture
def reported() -> Reported:
    """Return a tracing to which nothing was reported."""
    return Reported()


@pytest.fixture
def traces(reported: Reported) -> DeliveryTraces:
    """Return the traces of a replica that tells `reported`."""
    return DeliveryTraces(reported)


@pytest.fixture
def histogram() -> Histogram:
    """Return a histogram that has counted nothing."""
    return Histogram(DELIVERY_BOUNDS_SECONDS)


def event(seq: int = 1, *, trace: int = 7, flags: str = "01", committed_ns: int = 0) -> Event:
    """Return an event of a trace, taken in now."""
    traceparent = f"00-{trace:032x}-{1:016x}-{flags}"
    return Event(
        seq=seq,
        path="tasks",
        message=b"",
        committed_ns=committed_ns,
        taken_ns=time.time_ns(),
        traceparent=traceparent,
    )


def long_ago() -> int:
    """Return a time after which it has been quiet."""
    return time.time_ns() - 2 * QUIET_NS


def test_delivery_is_told_once_when_it_took_many_writes(
    reported: Reported, traces: DeliveryTraces, histogram: Histogram
) -> None:
    """A fan-out in slices is one delivery, with the first of its writes."""
    one = event()
    began_ns = time.time_ns()
    traces.receive(one)
    for place in range(MAX_WRITES + 8):
        traces.deliver([one], began_ns + place, 10, histogram)
    traces.report()
    assert [] == reported.deliveries

    traces.close()
    (delivery,) = reported.deliveries
    assert (10 * (MAX_WRITES + 8), MAX_WRITES) == (delivery.clients, len(delivery.writes))
    assert (began_ns + MAX_WRITES + 7, False) == (delivery.ended_ns, delivery.is_catch_up)
    assert one.taken_ns == delivery.began_ns


def test_delivery_is_told_when_nothing_was_written_for_a_while(
    reported: Reported, traces: DeliveryTraces, histogram: Histogram
) -> None:
    """Who comes for the event afterwards makes another, of the same trace."""
    one = event()
    traces.deliver([one], long_ago(), 1, histogram)
    traces.report()
    traces.deliver([one], long_ago(), 2, histogram)
    traces.report()
    traces.report()
    assert [(1, True), (2, True)] == [(delivery.clients, delivery.is_catch_up) for delivery in reported.deliveries]


@pytest.mark.parametrize("flags", ["00", "02"])
def test_delivery_is_not_told_when_its_trace_is_not_sampled(
    reported: Reported, traces: DeliveryTraces, histogram: Histogram, flags: str
) -> None:
    """Nor when its event has no trace at all."""
    untraced = Event(seq=2, path="tasks", message=b"", committed_ns=0)
    for one in (event(flags=flags), untraced):
        traces.receive(one)
        traces.deliver([one], time.time_ns(), 1, histogram)
    traces.close()
    assert [] == reported.deliveries


def test_oldest_delivery_is_told_early_when_there_are_too_many(reported: Reported, traces: DeliveryTraces) -> None:
    """I7: what is not over is bounded, and nothing of it is left out."""
    for seq in range(MAX_OPEN + 2):
        traces.receive(event(seq))
    assert [0, 1] == [delivery.seq for delivery in reported.deliveries]
    traces.close()
    assert list(range(MAX_OPEN + 2)) == [delivery.seq for delivery in reported.deliveries]


def test_both_deliveries_are_told_when_the_log_began_anew(reported: Reported, traces: DeliveryTraces) -> None:
    """The same sequence is another event then."""
    traces.receive(event(trace=7))
    traces.receive(event(trace=8))
    traces.close()
    assert [7, 8] == [int(delivery.traceparent.split("-")[1], 16) for delivery in reported.deliveries]


def test_bucket_keeps_its_last_exemplar_when_events_are_delivered(traces: DeliveryTraces, histogram: Histogram) -> None:
    """One for each bucket, whatever is delivered; none of what nobody traces."""
    for trace, milliseconds in ((1, 3), (2, 4), (3, 700)):
        traces.deliver([event(trace=trace)], milliseconds * 1_000_000, 1, histogram)
    traces.deliver([event(trace=4, flags="00")], 900 * 1_000_000, 1, histogram)

    assert {0.005: (2, 0.004), 1.0: (3, 0.7)} == {
        DELIVERY_BOUNDS_SECONDS[place]: (int(exemplar.trace_id, 16), exemplar.seconds)
        for place, exemplar in histogram.exemplars.items()
    }


def test_each_histogram_has_its_exemplars_when_deliveries_are_counted(
    reported: Reported, traces: DeliveryTraces
) -> None:
    """What a held poll received, and what a client came for later, are counted apart, and reported together."""
    stats = Stats(traces.deliver)
    held, late = event(1, trace=1), event(2, trace=2)
    now_ns = time.time_ns()
    stats.count_deliveries([held], now_ns, 3)
    stats.count_answered([late], now_ns, 0.0)
    traces.close()
    assert [(1, 3), (2, 1)] == [(delivery.seq, delivery.clients) for delivery in reported.deliveries]
    assert [[1], [2]] == [
        [int(exemplar.trace_id, 16) for exemplar in histogram.exemplars.values()]
        for histogram in (stats.delivery, stats.catch_up)
    ]
