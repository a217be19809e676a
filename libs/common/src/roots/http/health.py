"""Health and metrics on a port of their own, so that a saturated service still answers its probes.

`/livez` reports whether the process works at all and knows no dependency; `/readyz` whether it should get traffic, with
each check named; `/metrics` is for Prometheus, and has the checks too.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import falcon
import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics

from roots.http import web
from roots.http.server import HttpServer

HEARTBEAT_SECONDS = 1.0
# An event loop that has not run for so long is stuck, not busy.
MAX_HEARTBEAT_AGE_SECONDS = 10.0
# A process that is about to end waits so long for Prometheus to read what went wrong: a scrape interval and a little.
LAST_SCRAPE_SECONDS = 6.0
# Probes and a scrape at once, when all other descriptors are used up.
RESERVED_DESCRIPTORS = 4
# Of the admin port: probes and scrapes have none that rest for long.
MAX_CONNECTIONS = 100
MAX_BODY_BYTES = 4 << 10
MAX_HELD_BYTES = 4 << 20
# Without room for another connection for so long, a process asks for no more.
MAX_FULL_SECONDS = 2.0
# Without a scrape for so long, no further one is expected.
SCRAPED_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What one readiness check found; `detail` is one sentence for a person."""

    is_ok: bool
    detail: str


class LastCheck:
    """What a check that is repeated elsewhere found last; it has failed when that is older than `max_age_seconds`.

    A check that hangs would otherwise stay as good as it was. Safe to use from any thread.
    """

    def __init__(self, detail: str, *, max_age_seconds: float) -> None:
        self._max_age_seconds = max_age_seconds
        self._last = (Check(is_ok=False, detail=detail), time.monotonic())

    @property
    def found(self) -> Check:
        """What it found last, at whatever age."""
        return self._last[0]

    def set(self, check: Check) -> None:
        """Note what the check has found now."""
        self._last = (check, time.monotonic())

    def __call__(self) -> Check:
        """Return what it found last, as failed once that is too old."""
        check, found_at = self._last
        age_seconds = time.monotonic() - found_at
        if not check.is_ok or age_seconds <= self._max_age_seconds:
            return check
        return Check(is_ok=False, detail=f"no answer for {age_seconds:.0f} s; the last was: {check.detail}")


class Health:
    """The readiness checks of one process, and whether it is draining. Safe to use from any thread."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], Check]] = {}
        self._draining = threading.Event()
        self._heartbeat: float | None = None
        self._drain_failures = 0
        # How many of them the last scrape returned.
        self._told = 0
        self._scraped_at = -SCRAPED_SECONDS
        self._scraped = threading.Event()

    def add(self, name: str, check: Callable[[], Check]) -> None:
        """Ask `check` at every readiness probe; it must not block."""
        self._checks[name] = check

    def drain(self) -> None:
        """Be unready from now on."""
        self._draining.set()

    def report_failed_drain(self) -> None:
        """Count a drain that cut somebody off, and return once Prometheus has read it, when it reads from here at all.

        Units: takes LAST_SCRAPE_SECONDS at most.
        """
        is_awaited = time.monotonic() - self._scraped_at < SCRAPED_SECONDS
        self._drain_failures += 1
        self._scraped.clear()
        if is_awaited:
            self._scraped.wait(LAST_SCRAPE_SECONDS)

    def note_scrape(self) -> None:
        """Note that the metrics were read."""
        self._scraped_at = time.monotonic()
        if self._told == self._drain_failures:
            self._scraped.set()

    def beat(self) -> None:
        """Note that the event loop runs; once called, liveness depends on it."""
        self._heartbeat = time.monotonic()

    @property
    def is_live(self) -> bool:
        """Whether the process still works."""
        return self._heartbeat is None or time.monotonic() - self._heartbeat < MAX_HEARTBEAT_AGE_SECONDS

    def checks(self) -> dict[str, Check]:
        """Return the result of every check by its name."""
        results = self._results()
        if self._draining.is_set():
            results["draining"] = Check(is_ok=False, detail="the process is stopping")
        return results

    def collect(self) -> Iterable[Metric]:
        """Return the families that every process has, whichever service it is of."""
        ready = GaugeMetricFamily("roots_process_ready", "1 while a check of readiness holds.", labels=["check"])
        for name, check in self._results().items():
            ready.add_metric([name], float(check.is_ok))
        yield ready
        yield GaugeMetricFamily(
            "roots_process_draining", "1 while the process is stopping.", value=float(self._draining.is_set())
        )
        self._told = self._drain_failures
        yield CounterMetricFamily("roots_process_drain_failures", "Stops that cut off somebody.", value=self._told)

    def _results(self) -> dict[str, Check]:
        results = {name: check() for name, check in self._checks.items()}
        if not self.is_live:
            # What the event loop would have found out by now, the checks do not know.
            results["loop"] = Check(is_ok=False, detail="the event loop does not run")
        return results


def room_check(*servers: HttpServer) -> Callable[[], Check]:
    """Return a check that fails while one of `servers` accepts no connection, since each has a request at work."""

    def check() -> Check:
        seconds = max(server.full_seconds for server in servers)
        if seconds < MAX_FULL_SECONDS:
            return Check(is_ok=True, detail="there is room for connections")
        return Check(is_ok=False, detail=f"every connection has had a request at work for {seconds:.0f} s")

    return check


def create_admin_server(health: Health, registry: CollectorRegistry, *, host: str, port: int) -> HttpServer:
    """Return the admin server of a process, not yet started."""
    registry.register(health)
    app = web.create_app()
    answers = _Answers(health, registry)
    for name in ("livez", "readyz", "metrics"):
        app.add_route(f"/{name}", answers, suffix=name)
    return HttpServer(
        app,
        host=host,
        port=port,
        threads=2,
        max_connections=MAX_CONNECTIONS,
        max_body_bytes=MAX_BODY_BYTES,
        max_held_bytes=MAX_HELD_BYTES,
        reserved_descriptors=RESERVED_DESCRIPTORS,
    )


def create_registry() -> CollectorRegistry:
    """Return a registry with the figures of the process itself; classic counters without `_created` series."""
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    prometheus_client.PlatformCollector(registry=registry)
    prometheus_client.GCCollector(registry=registry)
    return registry


class _Answers:
    def __init__(self, health: Health, registry: CollectorRegistry) -> None:
        self._health = health
        self._registry = registry

    def on_get_livez(self, _req: falcon.Request, resp: falcon.Response) -> None:
        is_live = self._health.is_live
        resp.status = 200 if is_live else 503
        resp.media = {"status": "ok" if is_live else "stuck"}

    def on_get_readyz(self, _req: falcon.Request, resp: falcon.Response) -> None:
        checks = self._health.checks()
        is_ready = all(check.is_ok for check in checks.values())
        resp.status = 200 if is_ready else 503
        resp.media = {
            "status": "ready" if is_ready else "unready",
            "checks": {name: {"ok": check.is_ok, "detail": check.detail} for name, check in checks.items()},
        }

    def on_get_metrics(self, req: falcon.Request, resp: falcon.Response) -> None:
        if req.client_accepts(openmetrics.CONTENT_TYPE_LATEST) and "openmetrics" in req.accept:
            resp.content_type = openmetrics.CONTENT_TYPE_LATEST
            resp.data = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
        else:
            resp.content_type = prometheus_client.CONTENT_TYPE_LATEST
            resp.data = prometheus_client.generate_latest(self._registry)
        # The answer to HEAD has no figures.
        if req.method == "GET":
            self._health.note_scrape()
