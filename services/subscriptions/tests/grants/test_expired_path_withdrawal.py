"""The end of a token as several replicas of subscriptions tell it, on a real nats-server."""

import asyncio
import math
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from tests.testkit.deadlines import stretched, wait_until
from tests.testkit.faults import crash

from roots.auth.policy import parse_policy
from roots.contracts.identity import Identity
from roots.contracts.uids import Uids
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.expired_path_withdrawal import ExpiredPathWithdrawal
from roots_subscriptions.grants.grants import Grants, Revoked
from roots_subscriptions.grants.index import GrantIndex
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.metrics import Metrics

from ..conftest import OPEN_POLICY
from ..support import Nats, serve_nothing

POLICY = f"""{OPEN_POLICY}
[backends.todos]
keyless = true
grant = ["vouched"]
"""
TOLD_WITHIN_SECONDS = 1.0
TOKEN_SECONDS = 3
# A machine that stands still for a moment is late once; a service that is too slow is late each time.
ROUNDS = 3
NO_BACKEND = Revoked(clients=0, paths=0)


class Replica:
    """The grants as one replica has them."""

    def __init__(self, thread: BrokerThread) -> None:
        self._thread = thread
        policy = parse_policy(POLICY)
        metrics = Metrics(CollectorRegistry())
        store = GrantStore(thread.client, metrics)
        self.index = GrantIndex(store)
        self.grants = Grants(store, self.index, lambda: policy, metrics)

    def connect(self, uid: str, *paths: str, expires: int) -> int:
        """Connect with a token of the uid's own subject, and return the number of the change."""
        identity = Identity(subject=f"ann-{uid}", expires=expires)
        change = self._thread.call(self.grants.connect(uid, paths, by="apps.tasks", identity=identity))
        assert change.after is not None
        return change.after.version

    def vouch(self, uid: str, path: str) -> None:
        """Connect as a back end does."""
        self._thread.call(self.grants.connect(uid, [path], by="backends.todos", identity=None))

    def catch_up(self) -> None:
        """Read the bucket."""
        self._thread.call(self.index.catch_up(), stretched(20))

    def withdraw_expired(self, now: float) -> Revoked:
        """Withdraw what has ended at `now`."""
        return self._thread.call(self.grants.withdraw_expired(now), stretched(20))


@pytest.fixture
def lonely_thread(own_nats: Nats) -> Iterator[BrokerThread]:
    """Yield a broker thread, connected to a nats-server of the test's own."""
    own_nats.loop.run(own_nats.server.start())
    own_nats.loop.run(own_nats.server.provision())
    thread = BrokerThread(own_nats.config("subscriptions"), serve=serve_nothing, beat=lambda: None)
    thread.start()
    wait_until(lambda: thread.is_connected)
    yield thread
    thread.stop()


@pytest.fixture
def replicas(lonely_thread: BrokerThread) -> tuple[Replica, Replica]:
    """Return two replicas, alone with their nats-server: a running service would end what a test wants to."""
    return Replica(lonely_thread), Replica(lonely_thread)


def test_end_has_one_number_when_every_replica_sees_it(
    replicas: tuple[Replica, Replica], lonely_thread: BrokerThread, own_nats: Nats, uids: Uids
) -> None:
    """I3, I5: of replicas that end the same paths at once one succeeds, so that each is told once; the rest stays."""
    one, two = replicas
    until = int(time.time()) + 600
    mine = [uids.mint() for _ in range(50)]
    numbers = {uid: one.connect(uid, "a", "b", expires=until) for uid in mine}
    one.vouch(mine[0], "vouched")
    two.catch_up()
    assert (NO_BACKEND, NO_BACKEND) == (one.withdraw_expired(until - 0.01), two.withdraw_expired(until - 0.01))

    async def both() -> tuple[Revoked, Revoked]:
        return await asyncio.gather(one.grants.withdraw_expired(until), two.grants.withdraw_expired(until))

    done = lonely_thread.call(both(), stretched(20))
    assert (50, 100) == (sum(each.clients for each in done), sum(each.paths for each in done))
    two.catch_up()
    assert (NO_BACKEND, NO_BACKEND) == (one.withdraw_expired(until + 1), two.withdraw_expired(until + 1))
    assert (0, 0) == (len(one.index.expiry_schedule), len(two.index.expiry_schedule))
    first = own_nats.stored(mine[0])
    assert ({"vouched"}, numbers[mine[0]] + 2) == (set(first["paths"]), first["n"])
    for uid in mine[1:]:
        record = own_nats.stored(uid)
        assert ({}, numbers[uid] + 1) == (record["paths"], record["n"])
        assert {"a": record["n"], "b": record["n"]} == record["gone"]


def test_renewed_token_wins_when_another_replica_has_not_read_of_it(
    replicas: tuple[Replica, Replica], own_nats: Nats, uid: str
) -> None:
    """I5: the record decides, not what a replica has in memory; the new end counts where it was read."""
    one, two = replicas
    until = int(time.time()) + 600
    one.connect(uid, "a", expires=until)
    two.catch_up()
    renewed = one.connect(uid, "a", expires=until + 60)
    assert NO_BACKEND == two.withdraw_expired(until + 1)
    assert (renewed, ["a"]) == (own_nats.stored(uid)["n"], list(own_nats.stored(uid)["paths"]))
    two.catch_up()
    assert NO_BACKEND == two.withdraw_expired(until + 59)
    assert Revoked(clients=1, paths=1) == two.withdraw_expired(until + 60)


def test_path_stays_withdrawn_when_a_client_connects_others_after_its_end(
    replicas: tuple[Replica, Replica], own_nats: Nats, uid: str
) -> None:
    """I3: the next connect and the replicas do the same, and whichever is first gives the end its only number."""
    one, two = replicas
    soon = int(time.time()) + 1
    one.connect(uid, "a", expires=soon)
    two.catch_up()
    wait_until(lambda: time.time() > soon)
    connected = one.connect(uid, "b", expires=soon + 600)
    assert (NO_BACKEND, NO_BACKEND) == (one.withdraw_expired(time.time()), two.withdraw_expired(time.time()))
    record = own_nats.stored(uid)
    assert (connected, {"a": connected}, ["b"]) == (record["n"], record["gone"], list(record["paths"]))


def test_end_is_told_later_when_nats_is_away_at_its_moment(
    lonely_thread: BrokerThread, own_nats: Nats, uids: Uids
) -> None:
    """I9: what could not be withdrawn is tried again, and a replica that starts afterwards finds it too."""
    replica = Replica(lonely_thread)
    until = int(time.time()) + 600
    mine = [uids.mint() for _ in range(3)]
    for uid in mine:
        replica.connect(uid, "a", expires=until)
    own_nats.loop.run(crash(own_nats.server))
    wait_until(lambda: not lonely_thread.is_connected)
    for _ in range(2):
        with pytest.raises(BrokerUnavailableError):
            replica.withdraw_expired(until)
    assert 3 == len(replica.index.expiry_schedule)
    own_nats.loop.run(own_nats.server.start())
    wait_until(lambda: lonely_thread.is_connected)

    late = Replica(lonely_thread)

    def is_read() -> bool:
        try:
            late.catch_up()
        except BrokerUnavailableError:
            return False
        return len(late.index.expiry_schedule) == len(mine)

    wait_until(is_read)
    assert Revoked(clients=3, paths=3) == replica.withdraw_expired(until)
    assert NO_BACKEND == late.withdraw_expired(until)
    assert [["a"]] * 3 == [list(own_nats.stored(uid)["gone"]) for uid in mine]


def test_end_is_written_within_a_second_when_replicas_run(
    replicas: tuple[Replica, Replica], lonely_thread: BrokerThread, own_nats: Nats, uids: Uids
) -> None:
    """I5: with the clock alone, of both replicas, for 100 clients whose tokens end at once."""
    one, two = replicas

    async def late_seconds(mine: list[str]) -> float:
        """Return how long after the end of their tokens the last of the clients has lost its path."""
        until = int(time.time() + stretched(TOKEN_SECONDS))
        identities = {uid: Identity(subject=f"ann-{uid}", expires=until) for uid in mine}
        await asyncio.gather(
            *(one.grants.connect(uid, ["a"], by="apps.tasks", identity=each) for uid, each in identities.items())
        )
        await two.index.catch_up()
        running = [asyncio.create_task(ExpiredPathWithdrawal(replica.grants).run()) for replica in replicas]
        while one.index.find(path="a"):
            await one.index.catch_up()
            await asyncio.sleep(0.02)
        late = time.time() - until
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        return late

    late = math.inf
    for _ in range(ROUNDS):
        mine = [uids.mint() for _ in range(100)]
        late = lonely_thread.call(late_seconds(mine), stretched(20))
        assert late >= 0
        assert [["a"]] * len(mine) == [list(own_nats.stored(uid)["gone"]) for uid in mine]
        if late < stretched(TOLD_WITHIN_SECONDS):
            return
    pytest.fail(f"the clients lost their paths {late:.2f} s late")
