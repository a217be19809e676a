"""The figures of `serve` and of `relay`; HTTP requests are counted by `roots.http.web.HttpMetrics`."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a loopback acknowledgement with fsync to a broker that is about to time out.
PUBLISH_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
CHANGES = ("created", "updated", "deleted", "unchanged", "repeated")


class ServeMetrics:
    """What `serve` counts about tasks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Counter(
            "roots_tasks_changes_total",
            "Requests to write a task that succeeded: created, updated or deleted, which yields an event each, "
            "or unchanged or repeated, which yields none.",
            ("change",),
            registry=registry,
        )
        for change in CHANGES:
            self._changes.labels(change)
        self._connections = Gauge(
            "roots_tasks_database_connections",
            "Connections to Postgres that are idle or busy, and requests waiting for one.",
            ("state",),
            registry=registry,
        )
        self._queue = Gauge("roots_tasks_http_queue_requests", "Requests that wait for a thread.", registry=registry)

    def count_change(self, change: str) -> None:
        """Count one answered request."""
        self._changes.labels(change).inc()

    def observe_connections(self, count: Callable[[str], int]) -> None:
        """Ask `count` for the connections in each state, at every scrape."""
        for state in ("idle", "busy", "waiting"):
            self._connections.labels(state).set_function(partial(count, state))

    def observe_queue(self, depth: Callable[[], int]) -> None:
        """Ask `depth` for the waiting requests, at every scrape."""
        self._queue.set_function(depth)


class RelayMetrics:
    """What `relay` counts about the outbox."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.pending = Gauge(
            "roots_tasks_outbox_pending",
            "Events in the outbox, from 10,000 on an estimate; kept by the leading relay.",
            registry=registry,
        )
        self.oldest_seconds = Gauge(
            "roots_tasks_outbox_oldest_seconds",
            "Age of the oldest event in the outbox, 0 when it is empty; kept by the leading relay.",
            registry=registry,
        )
        self.published = Counter(
            "roots_tasks_relay_published_total",
            "Publishes by result: stored, duplicate (stored before), refused (by the stream), failed (no answer).",
            ("result",),
            registry=registry,
        )
        self.publish_seconds = Histogram(
            "roots_tasks_relay_publish_seconds",
            "Time from the publish of a batch to its last acknowledgement, seconds.",
            buckets=PUBLISH_BUCKETS_SECONDS,
            registry=registry,
        )
        self.is_leader = Gauge(
            "roots_tasks_relay_is_leader", "1 while this relay holds the lock and publishes.", registry=registry
        )
