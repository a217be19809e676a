"""The grant store against a real nats-server."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.testkit.deadlines import stretched

from roots.contracts.grant_records import MAX_PATHS, MAX_PATHS_BYTES, GrantRecord, PathGrant
from roots.contracts.identity import ANONYMOUS
from roots.contracts.subjects import GRANT_LIFETIME_SECONDS, LIVE_GRANTS_PREFIX
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.store import TTL_MARGIN_SECONDS
from roots_subscriptions.metrics import Metrics

from ..support import Nats


def test_connect_grants_from_the_last_event_when_the_client_is_new(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """I1: a grant starts where the event stream ends, so that the next event is heard and no earlier one."""
    last = nats.publish_event()
    broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS))
    record = nats.stored(uid)
    grant = {
        "from": last,
        "epoch": nats.events_epoch(),
        "since": record["n"],
        "n": record["n"],
        "until": None,
        "by": "apps.tasks",
        "at": pytest.approx(time.time(), abs=5),
    }
    assert grant == record["paths"]["tasks"]
    assert pytest.approx(time.time() + GRANT_LIFETIME_SECONDS, abs=5) == record["expires"]


def test_connect_keeps_the_start_when_the_path_is_confirmed(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """I1: events between two connects of the same path stay within the grant."""
    first = nats.publish_event()
    before = broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS)).after
    nats.publish_event()
    broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS))
    assert before is not None
    grant = nats.stored(uid)["paths"]["tasks"]
    assert (first, before.version, before.version + 1) == (grant["from"], grant["since"], grant["n"])


def test_record_outlives_its_end_in_the_bucket_when_written(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """The server forgets a record by itself, shortly after it has ceased to count."""
    broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS))
    ttl_seconds = int(nats.message(uid).headers["Nats-TTL"])
    assert GRANT_LIFETIME_SECONDS <= ttl_seconds <= GRANT_LIFETIME_SECONDS + TTL_MARGIN_SECONDS + 1


def test_connect_loses_no_path_when_16_threads_connect_one_client(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, metrics: Metrics, uid: str
) -> None:
    """Concurrent connects of one uid never lose each other's paths, and each is one change."""
    with ThreadPoolExecutor(16) as threads:
        changes = threads.map(
            lambda i: broker_thread.call(
                grants.connect(uid, [f"p{i}", "shared"], by="apps.tasks", identity=ANONYMOUS), 30
            ),
            range(64),
        )
        numbers = [change.after.version for change in changes if change.after is not None]
    record = nats.stored(uid)
    assert {f"p{i}" for i in range(64)} | {"shared"} == set(record["paths"])
    assert 64 == len(set(numbers)) == max(numbers) - min(numbers) + 1
    assert record["n"] == max(numbers)
    assert metrics.conflicts._value.get() > 0


def test_record_counts_above_every_earlier_number_when_made_again(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """A client that still names a number of its expired record can't take a new change for a known one."""
    for _ in range(3):
        broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS))
    last = broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS)).after
    assert last is not None
    ended = GrantRecord(version=last.version, paths=last.paths, expires=int(time.time()) - 1)
    nats.put(uid, ended)
    again = broker_thread.call(grants.connect(uid, ["news"], by="apps.tasks", identity=ANONYMOUS)).after
    assert again is not None
    assert again.version > last.version
    assert {"news"} == set(again.paths)


@pytest.mark.parametrize("operation", ["DEL", "PURGE"])
def test_record_counts_as_absent_when_its_key_was_deleted(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str, operation: str
) -> None:
    """A marker in the bucket is no record, and a new one can follow it."""
    broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS))
    nats.put_raw(uid, b"", {"KV-Operation": operation, "Nats-Rollup": "sub"})
    assert broker_thread.call(grants.renew(uid)).after is None
    broker_thread.call(grants.connect(uid, ["news"], by="apps.tasks", identity=ANONYMOUS))
    assert {"news"} == set(nats.stored(uid)["paths"])


def test_disconnect_withdraws_what_is_held_when_asked_for_more(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """I5: a withdrawn path is no longer granted, and the record tells longpoll so."""
    broker_thread.call(grants.connect(uid, ["tasks", "news"], by="apps.tasks", identity=ANONYMOUS))
    broker_thread.call(grants.disconnect(uid, ["tasks", "never"], identity=ANONYMOUS))
    record = nats.stored(uid)
    assert {"news"} == set(record["paths"])
    assert {"tasks": record["n"]} == record["gone"]


def test_disconnect_writes_nothing_when_nothing_is_held(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """What changes nothing costs no write: no record appears, and none gets a new sequence."""
    assert broker_thread.call(grants.disconnect(uid, ["tasks"], identity=ANONYMOUS)).after is None
    broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS))
    sequence = nats.message(uid).seq
    broker_thread.call(grants.disconnect(uid, ["never"], identity=ANONYMOUS))
    assert sequence == nats.message(uid).seq


def test_record_fits_one_message_when_it_is_as_large_as_can_be(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """I7: as many paths and bytes as there may be, held and withdrawn, stay under the server's max_payload."""
    for round_ in ("a", "b"):
        paths = [f"{'x' * 60}{round_}{i:03}" for i in range(MAX_PATHS)]
        assert MAX_PATHS_BYTES == sum(map(len, paths))
        broker_thread.call(grants.connect(uid, paths, by="apps.tasks", identity=ANONYMOUS))
        if round_ == "a":
            broker_thread.call(grants.disconnect(uid, paths, identity=ANONYMOUS))
    record = nats.stored(uid)
    assert (MAX_PATHS, MAX_PATHS) == (len(record["paths"]), len(record["gone"]))


def test_connect_writes_nothing_when_the_paths_are_too_many(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """I7: over the bound nothing is granted, and the record stays as it was."""
    broker_thread.call(grants.connect(uid, [f"p{i}" for i in range(MAX_PATHS)], by="apps.tasks", identity=ANONYMOUS))
    sequence = nats.message(uid).seq
    after = broker_thread.call(grants.connect(uid, ["more"], by="apps.tasks", identity=ANONYMOUS)).after
    assert after is not None
    assert (False, False) == (after.has_room_for("more"), "more" in after.paths)
    assert sequence == nats.message(uid).seq


def test_renewal_extends_only_when_half_of_the_time_is_over(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """Each write costs a sync to disk, so a record is rewritten every half hour at most, and its count never."""
    paths = {"tasks": PathGrant(from_seq=1, epoch=2, since=6, version=7, by="apps.tasks", at=8)}
    fresh = nats.put(
        uid, GrantRecord(version=7, paths=paths, expires=int(time.time()) + GRANT_LIFETIME_SECONDS // 2 + 60)
    )
    broker_thread.call(grants.renew(uid))
    assert fresh == nats.message(uid).seq

    nats.put(uid, GrantRecord(version=7, paths=paths, expires=int(time.time()) + GRANT_LIFETIME_SECONDS // 2 - 60))
    broker_thread.call(grants.renew(uid))
    record = nats.stored(uid)
    assert pytest.approx(time.time() + GRANT_LIFETIME_SECONDS, abs=5) == record["expires"]
    assert 7 == record["n"]
    grant = {"from": 1, "epoch": 2, "since": 6, "n": 7, "until": None, "by": "apps.tasks", "at": 8}
    assert {"tasks": grant} == record["paths"]


def test_change_is_told_to_the_replicas_when_written(
    nats: Nats, broker_thread: BrokerThread, grants: Grants, uid: str
) -> None:
    """I5: longpoll hears of a change as it is stored, without asking."""
    client = nats.client("longpoll-live")
    subscription = nats.loop.run(client.subscribe(f"{LIVE_GRANTS_PREFIX}{uid}"))
    nats.loop.run(client.flush())
    broker_thread.call(grants.connect(uid, ["tasks"], by="apps.tasks", identity=ANONYMOUS))
    message = nats.loop.run(subscription.next_msg(timeout=stretched(5)))
    assert nats.stored(uid) == json.loads(message.data)
    assert {"Nats-Sequence": str(nats.message(uid).seq)}.items() <= (message.headers or {}).items()
