"""Revocations that race with grants, and the revisions that decide between them."""

import asyncio
import itertools
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from roots.auth.policy import parse_policy
from roots.contracts.subjects import GRANTS_STREAM
from roots.contracts.uids import Uids
from roots.nats.reader import JetStreamReader
from roots.nats.streams import StreamState
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.errors import RevokedSinceError
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.index import GrantIndex
from roots_subscriptions.grants.record import Terms, announced, disconnected, is_announced, new_record
from roots_subscriptions.grants.revisions import SLOTS, Revision, mark_of, marks_about
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.metrics import Metrics

RACES = int(os.environ.get("ROOTS_TEST_REVOKE_RACES", "1000"))
RACES_AT_ONCE = 20
BY = "apps.tasks"
STEPS = ("begun", "revision read", "decided", "answered")


class Race(NamedTuple):
    """What became of the request to connect, and what its client holds after the kick."""

    outcome: str
    held: list[str]


@dataclass
class Membership:
    """The application's own table: whether its member may receive the room."""

    is_member: bool = True


def test_marks_are_shared_only_by_accident_when_names_differ() -> None:
    """The same name has the same key, of a bounded number, and another kind of name another one."""
    names = [f"name-{number}" for number in range(10_000)]
    assert SLOTS >= len({mark_of(uid=None, subject=name, path=None) for name in names}) > SLOTS * 0.9
    assert mark_of(uid=None, subject="a", path="b") in marks_about("u", ["a"], [])
    assert mark_of(uid="u", subject=None, path="b") in marks_about("u", [], [])
    assert mark_of(uid=None, subject=None, path="b") in marks_about("u", [], ["b"])
    assert mark_of(uid=None, subject="b", path=None) not in marks_about("u", [], ["b"])


@pytest.mark.parametrize("text", ["", "-", "1", "1-", "-1", "1-1-1", "1 -1", "+1-1", "1-1_0", "9" * 40 + "-1"])
def test_revision_is_refused_when_it_is_none(text: str) -> None:
    """What parses is written as it was read."""
    with pytest.raises(ValueError, match="revision"):
        Revision.parse(text)
    assert "1795000000000-7" == str(Revision.parse("1795000000000-7"))


def test_announced_paths_grant_nothing_and_are_removed_when_they_are_withdrawn() -> None:
    """I5: a revocation changes a record in which the path is only pending, so the write that grants it fails."""
    record = announced(new_record(7), ["a", "b"], by=BY, subject="ann", now=0)
    assert ({}, 7, "ann") == (record.paths, record.version, record.subject)
    assert is_announced(record, ["a", "b"], "ann")
    assert not is_announced(record, ["a", "c"], "ann")
    assert not is_announced(record, ["a"], "bob")
    left = disconnected(record, ["a"])
    assert left is not record
    assert ({"b": BY}, 7) == (left.pending, left.version)
    assert disconnected(left, ["a"]) is left


def test_pending_paths_are_bounded_when_requests_never_end() -> None:
    """A record does not grow by requests that were cut off."""
    record = new_record(0)
    for number in range(300):
        record = announced(record, [f"p/{number}", f"q/{number}"], by=BY, subject=None, now=0)
        assert is_announced(record, [f"p/{number}", f"q/{number}"], None)
    assert isinstance(record.pending, dict)
    assert len(record.pending) <= 128


class KickingIndex(GrantIndex):
    """An index after whose reading number `kick_at` a kick happens, before the reader goes on."""

    kick_at = 0

    def __init__(self, store: GrantStore, kick: Callable[[], Awaitable[object]]) -> None:
        super().__init__(store)
        self._kick = kick

    async def catch_up(self) -> None:
        """Read the bucket, and have the kick come then."""
        await super().catch_up()
        self.kick_at -= 1
        if self.kick_at == 0:
            await self._kick()


@pytest.mark.parametrize("kind", ["subject", "path", "uid"])
@pytest.mark.parametrize("reading", [1, 2])
def test_grant_is_refused_when_a_whole_kick_comes_after_the_markers_were_read(
    broker_thread: BrokerThread, other_grants: Grants, metrics: Metrics, uid: str, kind: str, reading: int
) -> None:
    """I5: the kick has changed the record, so the grant is not written; its next try sees the marker."""
    named = {kind: {"uid": uid, "subject": f"s-{uid}", "path": f"rooms/{uid}"}[kind]}
    policy = parse_policy('[apps.tasks]\nallow = [{ paths = ["**"], who = "anyone" }]')

    async def kick() -> None:
        await other_grants.revoke(uid=named.get("uid"), subject=named.get("subject"), path=named.get("path"))

    store = GrantStore(broker_thread.client, metrics)
    index = KickingIndex(store, kick)
    grants = Grants(store, index, lambda: policy, metrics)

    async def connect() -> None:
        terms = Terms(subject=f"s-{uid}", revision=await grants.revision())
        index.kick_at = reading
        await grants.connect(uid, [f"rooms/{uid}"], by=BY, identity=None, terms=terms)

    with pytest.raises(RevokedSinceError):
        broker_thread.call(connect(), timeout_seconds=20)
    record = broker_thread.call(grants.read(uid))
    assert record is None or record.paths == {}


class ChangingReader(JetStreamReader):
    """A reader after whose look at the stream's extent something is written, before it reads on."""

    written: Callable[[], Awaitable[object]] | None = None

    async def state(self) -> StreamState:
        """Return the extent, and have the write come then."""
        state = await super().state()
        written, self.written = self.written, None
        if written is not None:
            await written()
        return state


class ChangingStore(GrantStore):
    """A store that reads its bucket by a ChangingReader."""

    _reader: ChangingReader | None = None

    @property
    def bucket(self) -> ChangingReader:
        """What reads the bucket's stream, the same each time."""
        if self._reader is None:
            self._reader = ChangingReader(self._client(), GRANTS_STREAM)
        return self._reader


def test_kick_finds_the_record_when_it_changes_while_the_kick_reads(
    broker_thread: BrokerThread, grants: Grants, metrics: Metrics, uid: str
) -> None:
    """I5: a record that is granted or renewed moves to the end of the bucket, behind what the kick began to read."""
    policy = parse_policy('[apps.tasks]\nallow = [{ paths = ["**"], who = "anyone" }]')
    store = ChangingStore(broker_thread.client, metrics)
    kicking = Grants(store, GrantIndex(store), lambda: policy, metrics)

    async def kick() -> int:
        await grants.connect(uid, [f"rooms/{uid}"], by=BY, identity=None, terms=Terms(subject=f"s-{uid}"))
        store.bucket.written = lambda: grants.connect(uid, ["rooms/other"], by=BY, identity=None)
        return (await kicking.revoke(subject=f"s-{uid}")).paths

    assert 2 == broker_thread.call(kick(), timeout_seconds=20)


def test_marker_is_seen_when_another_one_takes_its_place_while_it_is_read(
    broker_thread: BrokerThread, grants: Grants, metrics: Metrics, uid: str
) -> None:
    """I5: the later of two revocations of one name moves the marker to the end of the bucket."""
    store = ChangingStore(broker_thread.client, metrics)
    index = GrantIndex(store)

    async def is_marked() -> bool:
        revision = await grants.revision()
        await grants.revoke(subject=f"s-{uid}")
        store.bucket.written = lambda: grants.revoke(subject=f"s-{uid}")
        await index.catch_up()
        return index.is_marked_since(revision, marks_about(uid, [f"s-{uid}"], []))

    assert broker_thread.call(is_marked(), timeout_seconds=20)


async def _race(grants: Grants, other: Grants, uid: str, kind: str, chance: random.Random) -> Race:
    """Decide and grant at one replica; from one of its steps on, another replica revokes, at once or side by side."""
    subject, path = f"s-{uid}", f"rooms/{uid}"
    named = {kind: {"uid": uid, "subject": subject, "path": path}[kind]}
    kick_step, is_in_turn = chance.choice(STEPS), chance.random() < 0.2
    membership = Membership()
    kicks: list[asyncio.Task[None]] = []

    async def pause() -> None:
        # From less than one request to NATS takes, to more than all of a revocation.
        await asyncio.sleep(10 ** chance.uniform(-6, -1.5))

    async def kick() -> None:
        if not is_in_turn:
            await pause()
        membership.is_member = False
        await other.revoke(uid=named.get("uid"), subject=named.get("subject"), path=named.get("path"))

    async def reach(step: str) -> None:
        if step == kick_step:
            kicks.append(asyncio.create_task(kick()))
            if is_in_turn:
                await kicks[0]
        await pause()

    async def connect() -> str:
        await reach("begun")
        revision = await grants.revision()
        await reach("revision read")
        if not membership.is_member:
            return "not decided"
        await reach("decided")
        try:
            terms = Terms(subject=None if kind == "path" else subject, revision=revision)
            await grants.connect(uid, [path], by=BY, identity=None, terms=terms)
        except RevokedSinceError:
            return "refused"
        return "granted"

    outcome = await connect()
    await reach("answered")
    await asyncio.gather(*kicks)
    record = await grants.read(uid)
    return Race(outcome, [] if record is None else list(record.paths))


@pytest.mark.timeout(120 + RACES / 5)
def test_no_grant_is_left_when_a_kick_races_with_connect(
    broker_thread: BrokerThread, grants: Grants, other_grants: Grants, uids: Uids
) -> None:
    """I5: however the two meet, the kicked member holds nothing in the end, at any of two replicas."""
    chance = random.Random(14)  # noqa: S311  # no secret

    async def races() -> list[Race]:
        slots = asyncio.Semaphore(RACES_AT_ONCE)

        async def race(kind: str) -> Race:
            async with slots:
                return await _race(grants, other_grants, uids.mint(), kind, chance)

        kinds = itertools.islice(itertools.cycle(["subject", "path", "uid"]), RACES)
        return await asyncio.gather(*(race(kind) for kind in kinds))

    ended = broker_thread.call(races(), timeout_seconds=60 + RACES / 10)
    assert [] == [race for race in ended if race.held]
    assert {"granted", "refused", "not decided"} == {race.outcome for race in ended}
