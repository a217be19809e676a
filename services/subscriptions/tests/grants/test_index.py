"""The index of what clients hold: kept right by records in any order, ends, and a bucket that begins anew."""

import time

import pytest
from prometheus_client import CollectorRegistry
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, wait_until

from roots.contracts.grant_records import GrantRecord, PathGrant, TokenClaims
from roots.contracts.subjects import GRANTS_PREFIX, GRANTS_STREAM
from roots.contracts.uids import Uids
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.grants.index import GrantIndex
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.metrics import Metrics

from ..support import Nats, serve_nothing

SOON = int(time.time()) + 3600


def record(
    *paths: str, subject: str | None = None, expires: int = SOON, version: int = 1, team: str = "red"
) -> GrantRecord:
    """Return a record that holds these paths."""
    grants = {path: PathGrant(from_seq=1, epoch=1, since=version, version=version, by="apps.t") for path in paths}
    claims = TokenClaims() if subject is None else TokenClaims(claims={"team": team})
    return GrantRecord(subject=subject, version=version, paths=grants, expires=expires, token_claims=claims)


@pytest.fixture
def index(broker_thread: BrokerThread, metrics: Metrics) -> GrantIndex:
    """Return an index that has read nothing."""
    return GrantIndex(GrantStore(broker_thread.client, metrics))


def test_newest_record_counts_when_an_older_one_comes_late(index: GrantIndex) -> None:
    """A record that this replica wrote is known before it is read; what is read after it may be older."""
    index.note("u", record("new"), 7)
    index.note("u", record("old"), 5)
    assert (["u"], []) == (index.find(path="new"), index.find(path="old"))
    index.note("u", record("newer"), 8)
    assert ([], ["u"]) == (index.find(path="new"), index.find(path="newer"))


def test_clients_share_a_grant_set_when_they_hold_the_same(index: GrantIndex) -> None:
    """Clients with the same grants share one decision; another subject or other claims make another set."""
    for number in range(100):
        index.note(f"u{number}", record("a", "b", version=number), number + 1)
    index.note("ann", record("a", "b", subject="ann"), 200)
    index.note("ann2", record("b", "a", subject="ann"), 201)
    index.note("ann3", record("a", "b", subject="ann", team="blue"), 202)
    assert [1, 2, 100] == sorted(len(grant_set.uids) for grant_set in index.grant_sets())
    assert {"ann", "ann2", "ann3"} == set(index.find(subject="ann"))
    assert 103 == len(index.find(path="a")) == len(index)


def test_nothing_is_left_of_a_client_when_its_record_has_ended(index: GrantIndex) -> None:
    """I7: memory is that of what is live."""
    index.note("u", record("a", subject="ann"), 1)
    assert 0 == index.count_others("ann", "u")
    assert 1 == index.count_others("ann", "other")
    index.note("u", record("a", subject="ann", expires=1), 2)
    assert (0, [], 0, []) == (len(index), index.grant_sets(), index.count_others("ann", "x"), index.find(subject="ann"))


def test_ended_records_are_swept_when_nothing_tells_of_their_end(
    index: GrantIndex, monkeypatch: pytest.MonkeyPatch, broker_thread: BrokerThread
) -> None:
    """NATS ends a record by its time to live without a word."""
    index.note("u", record("a", subject="ann", expires=int(time.time()) + 1), 1)
    assert 1 == len(index)
    monkeypatch.setattr("roots_subscriptions.grants.index.SWEEP_INTERVAL_SECONDS", 0.0)

    def is_swept() -> bool:
        broker_thread.call(index.catch_up(), stretched(20))
        return "u" not in index.find(path="a")

    wait_until(is_swept)


@pytest.mark.parametrize("way", ["all", "one"])
def test_nothing_is_left_of_a_record_when_it_was_purged(
    own_nats: Nats, background: LoopThread, uids: Uids, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """I5: a purge leaves no message, and a subject's purged clients take no room."""
    monkeypatch.setattr("roots.nats.presence.INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("roots_subscriptions.grants.index.READ_INTERVAL_SECONDS", 0.02)
    own_nats.loop.run(own_nats.server.start())
    own_nats.loop.run(own_nats.server.provision())
    purged, other = uids.mint(), uids.mint()
    for uid in (purged, other):
        own_nats.put(uid, record("a", subject="ann"))
    thread = BrokerThread(own_nats.config("subscriptions"), serve=lambda _: purged_index.follow(), beat=lambda: None)
    purged_index = GrantIndex(GrantStore(thread.client, Metrics(CollectorRegistry())))
    thread.start()
    wait_until(lambda: len(purged_index) == 2)

    query = {} if way == "all" else {"filter": f"{GRANTS_PREFIX}{purged}"}
    assert own_nats.request("provision", f"$JS.API.STREAM.PURGE.{GRANTS_STREAM}", query)["success"]

    left = [] if way == "all" else [other]
    wait_until(lambda: purged_index.find(subject="ann") == left)
    assert len(left) == purged_index.count_others("ann", "somebody")
    thread.stop()


def test_index_names_ended_clients_when_their_records_are_swept(
    broker_thread: BrokerThread, metrics: Metrics, nats: Nats, uids: Uids, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS ends a record without a message: the index finds it by its time, once."""
    monkeypatch.setattr("roots_subscriptions.grants.index.SWEEP_INTERVAL_SECONDS", 0)
    uid, living = uids.mint(), uids.mint()
    seq = nats.put(uid, GrantRecord(version=1, expires=time.time() + 1))
    nats.put(living, GrantRecord(version=1, expires=time.time() + 3600))
    index = GrantIndex(GrantStore(broker_thread.client, metrics))

    def read() -> list[tuple[str, int]]:
        broker_thread.call(index.catch_up(), 20)
        return [client for client in index.ended_clients if client[0] in {uid, living}]

    wait_until(lambda: read() == [(uid, seq)])
    assert [(uid, seq)] == read()


def test_index_begins_anew_when_the_bucket_does(own_nats: Nats, background: LoopThread, uids: Uids) -> None:
    """I9: of a bucket that was lost nothing is left, and all of the new one is found, whatever its sequences."""
    own_nats.loop.run(own_nats.server.start())
    own_nats.loop.run(own_nats.server.provision())
    thread = BrokerThread(own_nats.config("subscriptions"), serve=serve_nothing, beat=lambda: None)
    thread.start()
    wait_until(lambda: thread.is_connected)
    index = GrantIndex(GrantStore(thread.client, Metrics(CollectorRegistry())))
    old, new = [uids.mint() for _ in range(3)], uids.mint()
    for uid in old:
        own_nats.put(uid, record("a"))
    thread.call(index.catch_up(), stretched(20))
    assert set(old) == set(index.find(path="a"))
    assert own_nats.request("provision", f"$JS.API.STREAM.DELETE.{GRANTS_STREAM}", {})["success"]
    own_nats.loop.run(own_nats.server.provision())
    own_nats.put(new, record("a"))
    thread.call(index.catch_up(), stretched(20))
    assert [new] == index.find(path="a")
    thread.stop()
