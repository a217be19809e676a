"""What subscriptions counts. No uid and no path is a label."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# What a request at the back-end API may be for.
BackendAction = Literal["publish", "connect", "revision", "explain", "revoke", "tutorial"]
BROKER_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

NO_BACKEND = "-"
"""The back end of a request without a key, with a wrong one, or refused before it was looked at."""


class Metrics:
    """The service's own figures; HTTP and the process have theirs elsewhere."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connects = Counter(
            "roots_subscriptions_connect_paths_total",
            "Paths that clients connected, by result: granted, confirmed (held already) or refused by the policy.",
            ("result",),
            registry=registry,
        )
        self.disconnects = Counter(
            "roots_subscriptions_disconnect_paths_total",
            "Paths that clients disconnected, by result: withdrawn, or absent (not held).",
            ("result",),
            registry=registry,
        )
        self.revoked = Counter(
            "roots_subscriptions_revoked_paths_total",
            "Paths that were withdrawn from clients by a revocation or a changed policy.",
            registry=registry,
        )
        self.ended = Counter(
            "roots_subscriptions_ended_paths_total",
            "Paths that were withdrawn from clients because their token, or the grant itself, had ended.",
            registry=registry,
        )
        self.clients = Gauge(
            "roots_subscriptions_clients", "Clients with a live grant record, of all replicas.", registry=registry
        )
        self.unreadable_records = Counter(
            "roots_subscriptions_unreadable_records_total",
            "Messages of the bucket that are no grant record; each counts as absent.",
            registry=registry,
        )
        self.conflicts = Counter(
            "roots_subscriptions_grant_conflicts_total",
            "Writes of a grant record that another write had overtaken; each is tried again.",
            registry=registry,
        )
        self.renewals = Counter(
            "roots_subscriptions_grant_renewals_total",
            "Uids that longpoll reported as polling, by result: extended, fresh, unknown or failed.",
            ("result",),
            registry=registry,
        )
        self.backend_api_calls = Counter(
            "roots_subscriptions_backend_api_calls_total",
            "Requests at the back-end API, by back end (- for none), action and outcome.",
            ("backend", "action", "outcome"),
            registry=registry,
        )
        self.backend_api_messages = Counter(
            "roots_subscriptions_backend_api_messages_total",
            "Messages of back ends that were sent to the log, by back end and outcome: stored, repeated, unavailable, "
            "unknown (no acknowledgement) or refused.",
            ("backend", "outcome"),
            registry=registry,
        )
        self.broker_seconds = Histogram(
            "roots_subscriptions_broker_seconds",
            "Time from a request to NATS to its answer, by operation, seconds.",
            ("operation",),
            buckets=BROKER_BUCKETS_SECONDS,
            registry=registry,
        )
        self.broker_connected = Gauge(
            "roots_subscriptions_broker_connected", "1 while NATS is connected.", registry=registry
        )
        self.queue_depth = Gauge(
            "roots_subscriptions_http_queue_requests", "HTTP requests that wait for a thread.", registry=registry
        )
        self.stream_bytes = Gauge(
            "roots_subscriptions_stream_bytes",
            "What a stream of NATS has stored: events, or grants.",
            ("stream",),
            registry=registry,
        )
        self.stream_limit_bytes = Gauge(
            "roots_subscriptions_stream_limit_bytes",
            "What a stream of NATS may store before the oldest goes; -1 without a limit.",
            ("stream",),
            registry=registry,
        )
        self.stream_messages = Gauge(
            "roots_subscriptions_stream_messages", "Messages of a stream of NATS.", ("stream",), registry=registry
        )
        self.clock_skew_seconds = Gauge(
            "roots_subscriptions_clock_skew_seconds",
            "How far this machine's clock is ahead of that of NATS, at least.",
            registry=registry,
        )
        self._begin()

    def _begin(self) -> None:
        """Let every series whose labels are known exist from the start, so that a rate over it is right."""
        for result in ("granted", "confirmed", "refused"):
            self.connects.labels(result)
        for result in ("withdrawn", "absent"):
            self.disconnects.labels(result)
        for result in ("extended", "fresh", "unknown", "failed"):
            self.renewals.labels(result)
        for action in get_args(BackendAction):
            self.backend_api_calls.labels(NO_BACKEND, action, "unauthorized")

    @contextmanager
    def broker_operation(self, operation: str) -> Iterator[None]:
        """Observe how long the body takes, also when it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.broker_seconds.labels(operation).observe(time.perf_counter() - started)
