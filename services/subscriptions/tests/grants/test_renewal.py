"""`roots.grants.touch`, as longpoll asks and the running service answers."""

import json
import time
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched, wait_until

from roots.contracts.grant_records import GrantRecord
from roots.contracts.requests import MAX_RENEWALS
from roots.contracts.subjects import GRANT_LIFETIME_SECONDS, GRANT_RENEWAL
from roots.contracts.uids import Uids

from ..support import Nats, Service


def aging(seconds_left: float) -> GrantRecord:
    """Return a record that ends in so many seconds."""
    return GrantRecord(version=1, expires=int(time.time() + seconds_left))


def test_renewal_extends_and_names_the_unknown_when_longpoll_reports(service: Service, nats: Nats, uids: Uids) -> None:
    """A polling client keeps its grants; one without a record is named, so that it can begin again."""
    fresh, old, ended, absent = (uids.mint() for _ in range(4))
    nats.put(fresh, aging(GRANT_LIFETIME_SECONDS - 60))
    nats.put(old, aging(60))
    nats.put(ended, aging(-1))
    before = service.metric('roots_subscriptions_grant_renewals_total{result="extended"}')

    reply = nats.request("longpoll", GRANT_RENEWAL, [fresh, old, ended, absent, "no.uid", ">", ""])

    assert {"touched": 2, "unknown": [ended, absent, "no.uid", ">", ""]} == reply
    assert pytest.approx(time.time() + GRANT_LIFETIME_SECONDS, abs=5) == nats.stored(old)["expires"]
    assert before + 1 == service.metric('roots_subscriptions_grant_renewals_total{result="extended"}')


def test_renewal_answers_within_its_deadline_when_the_report_is_full(service: Service, nats: Nats, uids: Uids) -> None:
    """I7: the largest report is answered; no uid gets lost in it."""
    assert service.is_ready()
    reported = [uids.mint() for _ in range(MAX_RENEWALS)]
    for uid in reported[:10]:
        nats.put(uid, aging(60))
    reply = nats.request("longpoll", GRANT_RENEWAL, reported)
    assert {"touched": 10, "unknown": reported[10:]} == reply


@pytest.mark.parametrize("body", [{}, "uid", [1], None, ["x"] * (MAX_RENEWALS + 1)])
def test_renewal_is_refused_when_it_is_no_list_of_uids(service: Service, nats: Nats, body: object) -> None:
    """A malformed report is answered, so that the other side need not wait for nothing."""
    assert service.is_ready()
    assert ["error"] == list(nats.request("longpoll", GRANT_RENEWAL, body))


def test_renewal_reaches_one_replica_when_there_are_two(
    service: Service, nats: Nats, uids: Uids, tmp_path: Path
) -> None:
    """The replicas share the reports: each is answered once."""
    name = 'roots_subscriptions_grant_renewals_total{result="unknown"}'
    with Service(nats, tmp_path) as second:
        wait_until(second.is_ready)
        before = service.metric(name) + second.metric(name)
        for _ in range(20):
            nats.request("longpoll", GRANT_RENEWAL, [uids.mint()])
        assert before + 20 == service.metric(name) + second.metric(name)
        assert second.metric(name) > 0


def test_renewal_under_way_is_answered_when_the_service_stops(nats: Nats, uids: Uids, tmp_path: Path) -> None:
    """I8: a report that a stopping replica has taken is still answered."""
    with Service(nats, tmp_path) as stopping:
        wait_until(stopping.is_ready)
        reported = [uids.mint() for _ in range(MAX_RENEWALS)]
        client = nats.client("longpoll")
        inbox = client.new_inbox()
        replies = nats.loop.run(client.subscribe(inbox))
        nats.loop.run(client.publish(GRANT_RENEWAL, json.dumps(reported).encode(), reply=inbox))
        # nats-py sends the ping of a flush ahead of what is pending, so only the second one is behind the report.
        nats.loop.run(client.flush())
        nats.loop.run(client.flush())
        stopping.terminate()
        reply = json.loads(nats.loop.run(replies.next_msg(timeout=stretched(10))).data)
    assert {"touched": 0, "unknown": reported} == reply
