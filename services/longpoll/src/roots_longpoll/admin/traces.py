"""Traces of deliveries: what became of each event whose trace is sampled, reported once, not for each client.

A delivery begins when its event comes, and is over when nothing was written for a while; clients that come for the
event later make another. Deliveries that are not over are bounded (I7). One event loop owns it.
"""

import time
from collections.abc import Sequence

from roots.tracing.traceparent import sampled_trace_id
from roots.tracing.tracing import Delivery, Tracing
from roots_longpoll.delivery.ring import Event
from roots_longpoll.delivery.stats import Exemplar, Histogram

# Often, so that few are reported at once: each takes some 50 µs of the loop.
REPORTS_PER_SECOND = 10
# A fan-out to 50,000 clients writes every few milliseconds.
QUIET_NS = 250_000_000
MAX_OPEN = 1000


class DeliveryTraces:
    """The deliveries under way of one replica, and the exemplars of its histograms."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        # By sequence, in the order in which they began.
        self._open: dict[int, Delivery] = {}

    def receive(self, event: Event) -> None:
        """Begin the delivery of `event`, which has just come."""
        if sampled_trace_id(event.traceparent) is not None:
            self._begin(event, event.taken_ns, is_catch_up=False)

    def deliver(self, events: Sequence[Event], written_ns: int, clients: int, histogram: Histogram) -> None:
        """Take note that `events` were written to so many clients at `written_ns`, as `histogram` has counted."""
        for event in events:
            trace_id = sampled_trace_id(event.traceparent)
            if trace_id is None:
                continue
            delivery = self._open.get(event.seq) or self._begin(event, written_ns, is_catch_up=True)
            delivery.note(written_ns, clients)
            seconds = event.age_seconds(written_ns)
            histogram.exemplify(Exemplar(trace_id=trace_id, seconds=seconds, at_ns=written_ns))

    def report(self) -> None:
        """Report the deliveries that are over."""
        over_ns = time.time_ns() - QUIET_NS
        for delivery in [delivery for delivery in self._open.values() if delivery.ended_ns <= over_ns]:
            self._end(delivery)

    def close(self) -> None:
        """Report all deliveries."""
        for delivery in list(self._open.values()):
            self._end(delivery)

    def _begin(self, event: Event, now_ns: int, *, is_catch_up: bool) -> Delivery:
        same = self._open.get(event.seq)
        if same is not None:
            # The log was created again, and its sequences started again.
            self._end(same)
        elif len(self._open) >= MAX_OPEN:
            self._end(next(iter(self._open.values())))
        delivery = self._open[event.seq] = Delivery(
            traceparent=event.traceparent or "",
            path=event.path,
            seq=event.seq,
            began_ns=now_ns,
            ended_ns=now_ns,
            is_catch_up=is_catch_up,
        )
        return delivery

    def _end(self, delivery: Delivery) -> None:
        del self._open[delivery.seq]
        self._tracing.deliver(delivery)
