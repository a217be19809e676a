"""The service on a machine whose clock is wrong."""

import time

import pytest
from tests.testkit.deadlines import wait_until

from roots_subscriptions.broker import readiness
from roots_subscriptions.broker.readiness import BrokerReadiness
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.metrics import Metrics

from ..support import Nats


def test_service_is_unready_until_its_clock_is_right_when_it_differs_from_the_brokers(
    nats: Nats, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would refuse uids that were just minted, and write ends of grants that are wrong."""
    monkeypatch.setattr(readiness, "READY_INTERVAL_SECONDS", 0.05)
    thread = BrokerThread(nats.config("subscriptions"), serve=lambda client: watched.watch(client), beat=lambda: None)  # noqa: PLW0108  # made later
    watched = BrokerReadiness(GrantStore(thread.client, metrics), metrics)
    thread.start()
    wait_until(lambda: watched.checks["bucket"]().is_ok and watched.checks["clock"]().is_ok)
    monkeypatch.setattr("roots.nats.streams.wall_clock", lambda: time.time() - 90)
    wait_until(lambda: not watched.checks["clock"]().is_ok)
    assert watched.checks["clock"]().detail.endswith(" s behind the clock of NATS")
    assert metrics.clock_skew_seconds._value.get() < -80
    monkeypatch.setattr("roots.nats.streams.wall_clock", time.time)
    wait_until(lambda: watched.checks["clock"]().is_ok)
    thread.stop()
