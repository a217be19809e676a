"""Revocation, changed policies and limits, as several replicas apply them on a real nats-server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from roots.auth.policy import Policy, parse_policy
from roots.contracts.identity import ANONYMOUS, Identity
from roots.contracts.uids import Uids
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.errors import ForeignClientError, TooManyClientsError
from roots_subscriptions.grants.grants import Grants, Revoked
from roots_subscriptions.grants.index import GrantIndex
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.metrics import Metrics

from ..support import Nats

FAR = 4_000_000_000
MAX_CLIENTS = 3


class Replica:
    """The grants as one replica of subscriptions has them, with a policy that a test can change."""

    def __init__(self, thread: BrokerThread, policy: Policy) -> None:
        self.policy = policy
        self._thread = thread
        metrics = Metrics(CollectorRegistry())
        store = GrantStore(thread.client, metrics)
        self.index = GrantIndex(store)
        self.grants = Grants(store, self.index, lambda: self.policy, metrics)

    def connect(self, uid: str, *paths: str, identity: Identity | None = ANONYMOUS, by: str = "apps.t") -> None:
        """Connect as a client of the app `t`, or as a back end does."""
        self._thread.call(self.grants.connect(uid, paths, by=by, identity=identity))

    def disconnect(self, uid: str, *paths: str, identity: Identity | None = ANONYMOUS) -> None:
        """Disconnect as a client."""
        self._thread.call(self.grants.disconnect(uid, paths, identity=identity))

    def held(self, uid: str) -> set[str]:
        """Return what the stored record of `uid` grants."""
        record = self._thread.call(self.grants.read(uid))
        return set() if record is None else set(record.paths)

    def revoke(self, **what: Any) -> Revoked:
        """Revoke by uid, subject or path."""
        return self._thread.call(self.grants.revoke(**what), 20)

    def reapply_policy(self) -> Revoked:
        """Apply the policy to every live grant."""
        return self._thread.call(self.grants.reapply_policy(), 20)

    def catch_up(self) -> None:
        """Read the bucket."""
        self._thread.call(self.index.catch_up(), 20)


MakePolicy = Callable[[str], Policy]


@pytest.fixture
def make_policy(tmp_path: Path) -> MakePolicy:
    """Return a function that makes a policy with tokens out of the rules of the app `t`."""
    (tmp_path / "secret").write_bytes(b"s" * 32)
    (tmp_path / "key").write_text("k" * 32)

    def make(rules: str) -> Policy:
        text = f"""
            [tokens]
            audience = "roots"
            max_clients = {MAX_CLIENTS}
            keys = [{{ kid = "k", alg = "HS256", secret_file = "secret" }}]
            [backends.b]
            key_file = "key"
            grant = ["vouched/**"]
            [apps.t]
            allow = [{rules}]
        """
        return parse_policy(text, tmp_path)

    return make


RULES = """
    { paths = ["news/*"], who = "anyone" },
    { paths = ["users/{sub}/**"], who = "signed-in" },
    { paths = ["teams/{claims.team}/*"], scopes = ["teams"] },
    { paths = ["admin/**"], roles = ["admin"] },
"""


@pytest.fixture
def replicas(broker_thread: BrokerThread, make_policy: MakePolicy) -> tuple[Replica, Replica]:
    """Return two replicas with the same policy, which have read the bucket."""
    one, two = (Replica(broker_thread, make_policy(RULES)) for _ in range(2))
    one.catch_up()
    two.catch_up()
    return one, two


def ann(uid: str, **said: object) -> Identity:
    """Return the identity of a subject that no other test has."""
    subject = f"ann-{uid}"
    fields: dict[str, object] = {"claims": {"sub": subject, "team": "red", "mail": "a@example"}, "expires": FAR, **said}
    return Identity(subject=subject, **fields)  # type: ignore[arg-type]  # the fields as a test names them


def test_client_is_bound_when_a_token_came_first(replicas: tuple[Replica, Replica], uid: str) -> None:
    """I5: a uid belongs to the first subject that connects it; nobody else, and no one without a token, changes it."""
    one, two = replicas
    one.connect(uid, "news/1")
    one.connect(uid, f"users/ann-{uid}/inbox", identity=ann(uid))
    for other in (ANONYMOUS, Identity(subject="bob", expires=FAR)):
        with pytest.raises(ForeignClientError):
            two.connect(uid, "news/2", identity=other)
        with pytest.raises(ForeignClientError):
            two.disconnect(uid, "news/1", identity=other)
    assert {"news/1", f"users/ann-{uid}/inbox"} == two.held(uid)


def test_back_end_grants_and_withdraws_when_the_client_is_bound(replicas: tuple[Replica, Replica], uid: str) -> None:
    """A back end's word is above the client's: no subject stops it, no token's end ends it, and it stays its own."""
    one, two = replicas
    one.connect(uid, "news/1", identity=ann(uid))
    two.connect(uid, "vouched/1", by="backends.b", identity=None)
    one.connect(uid, "news/1", identity=ann(uid, expires=FAR + 1))
    record = one._thread.call(one.grants.read(uid))
    assert record is not None
    assert {"news/1": (FAR + 1, "apps.t"), "vouched/1": (None, "backends.b")} == {
        path: (grant.until, grant.by) for path, grant in record.paths.items()
    }
    two.disconnect(uid, "news/1", identity=None)
    assert {"vouched/1"} == one.held(uid)


def test_renewed_token_extends_and_withdraws_when_it_says_other_things(
    replicas: tuple[Replica, Replica], uid: str
) -> None:
    """I5: the newest token counts for all of the client's paths: those that it does not allow are withdrawn."""
    one, _ = replicas
    one.connect(uid, "teams/red/1", "news/1", identity=ann(uid, scopes=frozenset({"teams"}), expires=FAR))
    one.connect(uid, "news/2", identity=ann(uid, expires=FAR + 5))
    record = one._thread.call(one.grants.read(uid))
    assert record is not None
    assert {"news/1": FAR + 5, "news/2": FAR + 5} == {path: grant.until for path, grant in record.paths.items()}
    assert {"teams/red/1": record.version} == record.withdrawn


def test_record_keeps_only_what_the_policy_asks_when_a_token_says_more(
    replicas: tuple[Replica, Replica], nats: Nats, uid: str
) -> None:
    """A record holds no more of a token than what is needed to decide again."""
    one, _ = replicas
    identity = ann(uid, scopes=frozenset({"teams", "mail"}), roles=frozenset({"boss"}), hear=("more/*",))
    one.connect(uid, "news/1", "more/1", identity=identity)
    expected = {"claims": {"sub": f"ann-{uid}", "team": "red"}, "scopes": ["teams"], "hear": ["more/*"]}
    assert expected == nats.stored(uid)["said"]


def test_revocation_finds_every_client_when_another_replica_granted(
    replicas: tuple[Replica, Replica], uids: Uids, uid: str
) -> None:
    """I5: whoever revokes finds what any replica granted before, by subject, by path, or both."""
    one, two = replicas
    mine, path = [uids.mint() for _ in range(MAX_CLIENTS)], f"news/{uid}"
    for each in mine:
        one.connect(each, path, "news/2", identity=ann(uid))
    one.connect(uid, path)

    assert Revoked(clients=MAX_CLIENTS, paths=MAX_CLIENTS) == two.revoke(subject=f"ann-{uid}", path="news/2")
    assert [{path}] * MAX_CLIENTS == [one.held(each) for each in mine]
    assert Revoked(clients=MAX_CLIENTS, paths=MAX_CLIENTS) == two.revoke(subject=f"ann-{uid}")
    assert [set()] * MAX_CLIENTS == [one.held(each) for each in mine]
    assert Revoked(clients=1, paths=1) == two.revoke(path=path)
    assert set() == one.held(uid)
    assert Revoked(clients=0, paths=0) == two.revoke(path=path)


def test_revocation_by_uid_spares_the_others_when_they_hold_the_same(
    replicas: tuple[Replica, Replica], uids: Uids, uid: str
) -> None:
    """One client is sent away, whatever others hold; a uid without a record is none."""
    one, two = replicas
    other = uids.mint()
    for each in (uid, other):
        one.connect(each, "news/1", "news/2")
    assert Revoked(clients=1, paths=1) == two.revoke(uid=uid, path="news/2")
    assert Revoked(clients=1, paths=1) == two.revoke(uid=uid)
    assert {"news/1", "news/2"} == one.held(other)
    assert Revoked(clients=0, paths=0) == two.revoke(uid=uids.mint())
    with pytest.raises(ValueError, match="neither"):
        two.revoke()


def test_changed_policy_withdraws_when_it_allows_less(
    replicas: tuple[Replica, Replica], make_policy: MakePolicy, uids: Uids, uid: str
) -> None:
    """I5: live grants are decided again with what the token said; what is allowed still keeps its start."""
    one, two = replicas
    # What other tests have left behind is none of this policy's.
    one.reapply_policy()
    other = uids.mint()
    identity = ann(uid, scopes=frozenset({"teams"}), roles=frozenset({"admin"}), hear=("own/*",))
    own = {f"users/ann-{uid}/inbox", "teams/red/1", "admin/x", "own/1"}
    one.connect(uid, *own, "news/1", identity=identity)
    one.connect(other, "news/1")
    one.connect(other, "vouched/1", by="backends.b", identity=None)
    assert Revoked(clients=0, paths=0) == two.reapply_policy()

    two.policy = make_policy(RULES.replace("news/*", "old/*").replace('"admin"', '"root"'))
    assert 3 <= two.reapply_policy().paths
    assert own - {"admin/x"} == one.held(uid)
    assert {"vouched/1"} == one.held(other)

    two.policy = make_policy("")
    two.reapply_policy()
    assert ({"own/1"}, {"vouched/1"}) == (one.held(uid), one.held(other))


def test_changed_policy_withdraws_when_a_connect_was_under_way(
    broker_thread: BrokerThread, make_policy: MakePolicy, uid: str
) -> None:
    """I5: a path that was allowed when it was asked for, and no more when it is stored, does not stay granted."""
    replica = Replica(broker_thread, make_policy(RULES))
    before, after = replica.policy, make_policy("")
    asked = 0

    def policy_that_changes() -> Policy:
        nonlocal asked
        asked += 1
        return before if asked <= 2 else after

    replica.grants._policy = policy_that_changes
    replica.connect(uid, "news/1")
    assert set() == replica.held(uid)


def test_connect_grants_nothing_when_the_policy_forbids(replicas: tuple[Replica, Replica], uid: str) -> None:
    """I5: the grants ask the policy themselves, whatever their caller has decided."""
    one, _ = replicas
    one.connect(uid, "teams/red/1", "other", identity=ann(uid))
    one.connect(uid, "news/1", by="backends.b", identity=None)
    one.connect(uid, "news/1", by="nobody", identity=None)
    assert set() == one.held(uid)


def test_subject_is_refused_when_it_has_too_many_clients(
    replicas: tuple[Replica, Replica], uids: Uids, uid: str
) -> None:
    """I7: the clients of one subject are bounded over all replicas; those that it has go on, and so do others."""
    one, two = replicas
    mine = [uids.mint() for _ in range(MAX_CLIENTS)]
    one.catch_up()
    for each in mine:
        one.connect(each, "news/1", identity=ann(uid))
    two.catch_up()
    for replica in (one, two):
        with pytest.raises(TooManyClientsError) as caught:
            replica.connect(uid, "news/1", identity=ann(uid))
        assert MAX_CLIENTS == caught.value.limit
        replica.connect(mine[0], "news/2", identity=ann(uid))
        replica.connect(uids.mint(), "news/2", identity=Identity(subject=f"bob-{uid}", expires=FAR))
    assert set() == one.held(uid)


def test_index_knows_what_every_replica_wrote_when_it_has_caught_up(
    replicas: tuple[Replica, Replica], nats: Nats, uids: Uids, uid: str
) -> None:
    """The index follows grants, withdrawals and deletions, and reads over records that it does not understand."""
    one, two = replicas
    path, broken = f"news/{uid}", uids.mint()
    one.connect(uid, path)
    nats.put_raw(broken, b"no record")
    two.catch_up()
    assert [uid] == two.index.find(path=path)
    one.disconnect(uid, path)
    two.catch_up()
    assert [] == two.index.find(path=path)
    one.connect(uid, path)
    two.catch_up()
    nats.put_raw(uid, b"", {"KV-Operation": "DEL"})
    two.catch_up()
    assert [] == two.index.find(path=path)


def test_revocation_leaves_what_its_back_end_may_not_grant_when_it_names_a_client(
    replicas: tuple[Replica, Replica], uid: str
) -> None:
    """I5: a back end withdraws by its own rights, and no more than them."""
    one, two = replicas
    one.connect(uid, "news/1", "news/2", f"users/ann-{uid}/inbox", identity=ann(uid))
    assert Revoked(clients=1, paths=1) == two.revoke(subject=f"ann-{uid}", may_revoke=lambda path: path == "news/1")
    assert {"news/2", f"users/ann-{uid}/inbox"} == one.held(uid)
