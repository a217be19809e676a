"""The figures of a relay."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from roots.contracts.events import Outcome

# From a loopback acknowledgement with fsync to a sink that is about to time out.
PUBLISH_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class RelayMetrics:
    """What a relay counts; `prefix` is the beginning of the metrics' names."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self.pending = Gauge(
            f"{prefix}_outbox_pending",
            "Events in the outbox, from 10,000 on an estimate; kept by the leading relay.",
            registry=registry,
        )
        self.oldest_seconds = Gauge(
            f"{prefix}_outbox_oldest_seconds",
            "Age of the oldest event in the outbox, 0 when it is empty; kept by the leading relay.",
            registry=registry,
        )
        self.published = Counter(
            f"{prefix}_relay_published_total",
            "Publishes by result: stored, repeated (stored before), refused (for good), unavailable (not stored), "
            "unknown (no answer).",
            ("result",),
            registry=registry,
        )
        for outcome in Outcome:
            self.published.labels(outcome.value)
        self.publish_seconds = Histogram(
            f"{prefix}_relay_publish_seconds",
            "Time from the publish of a batch to its last acknowledgement, seconds.",
            buckets=PUBLISH_BUCKETS_SECONDS,
            registry=registry,
        )
        self.is_leader = Gauge(
            f"{prefix}_relay_is_leader", "1 while this relay holds the lock and publishes.", registry=registry
        )
