"""The service while NATS answers but takes no writes, as with a full disk."""

from typing import Any

import pytest
from tests.testkit.deadlines import wait_until

from roots.contracts.subjects import EVENTS_STREAM, GRANTS_STREAM
from roots_subscriptions.grants import write_health
from roots_subscriptions.grants.write_health import WriteHealth

from ..broker.test_outage import lonely, start_provisioned
from ..support import Nats, Service

__all__ = ["lonely"]


def bound(nats: Nats, stream: str, **limits: Any) -> None:
    """Change the limits of a stream."""
    config = nats.request("provision", f"$JS.API.STREAM.INFO.{stream}", {})["config"] | limits
    assert "error" not in nats.request("provision", f"$JS.API.STREAM.UPDATE.{stream}", config)


def test_service_is_unready_until_the_bucket_takes_writes_when_one_was_refused(
    lonely: Service, own_nats: Nats, uid: str
) -> None:
    """I9: a refused grant makes it unready with the reason; it finds out by itself when the bucket takes them again."""
    start_provisioned(own_nats)
    wait_until(lonely.is_ready)
    bound(own_nats, GRANTS_STREAM, max_msg_size=1)
    assert lonely.is_ready()
    assert 503 == lonely.connect(uid, "tasks").status
    wait_until(lambda: not lonely.is_ready())
    check = lonely.checks()["writes"]
    assert "no write to the bucket roots-grants was acknowledged; trying again" == check["detail"]

    bound(own_nats, GRANTS_STREAM, max_msg_size=-1)
    wait_until(lonely.is_ready)
    assert 200 == lonely.connect(uid, "tasks").status


def test_writes_fail_until_one_is_taken_or_an_event_is_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket can be tried; the stream of events can't, so what failed there counts for some seconds."""
    now = 100.0
    monkeypatch.setattr("roots_subscriptions.grants.write_health.time.monotonic", lambda: now)
    found = WriteHealth()
    assert found.check().is_ok
    found.note(EVENTS_STREAM, is_stored=False)
    found.note(GRANTS_STREAM, is_stored=False)
    assert "the bucket roots-grants and the stream ROOTS_EVENTS" in found.check().detail
    now += write_health.EVENT_SECONDS
    assert not found.check().is_ok
    assert "ROOTS_EVENTS" not in found.check().detail
    found.note(GRANTS_STREAM, is_stored=True)
    assert found.check().is_ok
    found.note(EVENTS_STREAM, is_stored=False)
    assert not found.check().is_ok
    found.note(EVENTS_STREAM, is_stored=True)
    assert found.check().is_ok
