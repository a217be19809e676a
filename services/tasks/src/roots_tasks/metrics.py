"""The figures of `serve`; HTTP requests are counted by `roots.http.web.HttpMetrics`."""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

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
