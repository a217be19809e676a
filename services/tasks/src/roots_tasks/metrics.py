"""The figures of `serve`; HTTP requests are counted by `roots.http.web.HttpMetrics`."""

from prometheus_client import CollectorRegistry, Counter, Gauge

CHANGES = ("created", "updated", "deleted", "unchanged", "repeated")


class ServeMetrics:
    """What `serve` counts about tasks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.changes = Counter(
            "roots_tasks_changes_total",
            "Requests to write a task that succeeded: created, updated or deleted, which yields an event each, "
            "or unchanged or repeated, which yields none.",
            ("change",),
            registry=registry,
        )
        for change in CHANGES:
            self.changes.labels(change)
        self.connections = Gauge(
            "roots_tasks_database_connections",
            "Connections to Postgres that are idle or busy, and requests waiting for one.",
            ("state",),
            registry=registry,
        )
        self.queue_depth = Gauge(
            "roots_tasks_http_queue_requests", "Requests that wait for a thread.", registry=registry
        )
