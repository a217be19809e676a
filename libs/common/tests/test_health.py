"""What every process tells Prometheus of itself."""

import threading
import urllib.request
from typing import Self

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.testkit.deadlines import clock, stretched, wait_until

from roots.http import health
from roots.http.health import LAST_SCRAPE_SECONDS, Check, Health, LastCheck, create_admin_server, create_registry
from roots.http.server import HttpServer


class Process:
    """The admin server of a process that a test stands for. Use as a context manager."""

    def __init__(self) -> None:
        self.health = Health()
        self._admin: HttpServer

    def __enter__(self) -> Self:
        self._admin = create_admin_server(self.health, create_registry(), host="127.0.0.1", port=0)
        self._admin.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._admin.close()

    def scrape(self) -> dict[str, float]:
        """Return the figures of the process, as Prometheus reads them, by their names and labels' values."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._admin.port}/metrics", timeout=stretched(5)) as answer:
            text = answer.read().decode()
        return {
            " ".join([sample.name, *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def test_metrics_have_the_checks_when_they_are_scraped() -> None:
    """An alert can name what a process waits for."""
    with Process() as process:
        process.health.add("broker", lambda: Check(is_ok=False, detail="waits for NATS"))
        process.health.add("postgres", lambda: Check(is_ok=True, detail="answers"))
        figures = process.scrape()
        assert (0, 1) == (figures["roots_process_ready broker"], figures["roots_process_ready postgres"])
        assert (0, 0) == (figures["roots_process_draining"], figures["roots_process_drain_failures_total"])
        process.health.drain()
        assert 1 == process.scrape()["roots_process_draining"]


def test_check_fails_when_it_has_found_nothing_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found last counts for a few seconds; a check that hangs does not stay as good as it was."""
    now = 100.0
    monkeypatch.setattr("roots.http.health.time.monotonic", lambda: now)
    check = LastCheck("not asked yet", max_age_seconds=5.0)
    assert check() == Check(is_ok=False, detail="not asked yet")
    check.set(Check(is_ok=True, detail="answers"))
    now = 105.0
    assert check() == Check(is_ok=True, detail="answers")
    now = 107.0
    assert check() == Check(is_ok=False, detail="no answer for 7 s; the last was: answers")
    assert check.found == Check(is_ok=True, detail="answers")


def test_process_is_unready_when_its_event_loop_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks know only what the loop found out, so a loop that stands still is a check of its own."""
    now = 100.0
    monkeypatch.setattr("roots.http.health.time.monotonic", lambda: now)
    process = Health()
    process.add("broker", lambda: Check(is_ok=True, detail="connected"))
    process.beat()
    assert list(process.checks()) == ["broker"]
    now += health.MAX_HEARTBEAT_AGE_SECONDS
    assert not process.checks()["loop"].is_ok


def test_failed_drain_is_told_before_the_end_when_prometheus_reads_here() -> None:
    """A counter that ends with its process would never be seen."""
    with Process() as process:
        process.scrape()
        stopping = threading.Thread(target=process.health.report_failed_drain)
        stopping.start()
        wait_until(lambda: process.scrape()["roots_process_drain_failures_total"] == 1, LAST_SCRAPE_SECONDS)
        stopping.join(LAST_SCRAPE_SECONDS / 2)
        assert not stopping.is_alive()


def test_failed_drain_delays_nothing_when_nobody_reads_metrics() -> None:
    """Without Prometheus there is no one to wait for."""
    began = clock()
    Health().report_failed_drain()
    assert LAST_SCRAPE_SECONDS / 2 > clock() - began
