"""A log that comes back shorter in the same stream: restored from a copy, or cut by a damaged disk."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.testkit.deadlines import stretched, until

from roots.contracts.subjects import EVENTS_STREAM
from roots.nats import broker
from roots_longpoll.stream import follower
from roots_subscriptions.broker.log_epoch import answer_epoch_requests
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.metrics import Metrics

from ..dispatcher_support import record
from ..net_support import Around, Page, listening_page, running


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
async def store(own: Around) -> AsyncIterator[GrantStore]:
    """Yield the store of a service that gives the log new epochs."""
    password = own.server.password("subscriptions")
    client = await broker.connect(broker.BrokerConfig(url=own.server.url, user="subscriptions", password=password))
    store = GrantStore(lambda: client, Metrics(CollectorRegistry()))
    await answer_epoch_requests(client, store)
    yield store
    await client.close()


class Copy:
    """A copy of what NATS has stored, as a backup is one."""

    def __init__(self, around: Around, folder: Path) -> None:
        self._around = around
        self._folder = folder
        self._data = around.server.servers[0].folder

    async def take(self) -> None:
        """Copy what is stored now."""
        await self._stop()
        shutil.copytree(self._data, self._folder)
        await self._around.start()

    async def restore(self) -> None:
        """Put the copy in the place of what is stored; NATS does not run afterwards."""
        await self._stop()
        shutil.rmtree(self._data)
        shutil.copytree(self._folder, self._data)

    async def _stop(self) -> None:
        await asyncio.wrap_future(self._around.background.submit(self._around.server.stop()))


@pytest.fixture
def copy(own: Around, tmp_path: Path) -> Copy:
    """Return a copy that has not been taken."""
    return Copy(own, tmp_path / "copy")


async def created(around: Around) -> str:
    """Return when the log's stream was created."""
    return str((await around.administrate(f"STREAM.INFO.{EVENTS_STREAM}"))["created"])


async def hear_until(page: Page, path: str, last: str) -> list[str]:
    """Poll until `last` comes, without a gap; return the messages up to it."""
    received: list[str] = []
    while last not in received:
        answer = await page.poll()
        assert [] == answer.gaps
        received += [message for where, message in answer.updates if where == path]
    return received


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("new_events", [0, 2, 9], ids=["shorter", "as long", "longer"])
async def test_gap_is_told_when_the_log_comes_back_shorter(
    own: Around, path: str, copy: Copy, monkeypatch: pytest.MonkeyPatch, new_events: int
) -> None:
    """I1, I9: every client that was ahead receives `epoch`, on every replica, whatever was published meanwhile."""
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 0.5)
    async with running(own.config()) as first, running(own.config()) as second:
        pages = [await listening_page(own, replica, path) for replica in (first, second, first)]
        held, later, resting = pages
        await copy.take()
        began = await created(own)
        for number in (1, 2):
            await own.publish(path, f"lost {number}")
        for page in pages:
            assert ["lost 1", "lost 2"] == await hear_until(page, path, "lost 2")
        await held.hold()
        epoch = first._dispatcher._ring.epoch
        await copy.restore()
        await own.start()
        for number in range(new_events):
            await own.publish(path, f"new {number}")
        assert began == await created(own)
        answer = await held.receive()
        assert [(path, "epoch")] == answer.gaps
        assert epoch < answer.cursor.epoch
        await until(lambda: first._dispatcher._ring.epoch == second._dispatcher._ring.epoch == answer.cursor.epoch)
        assert ([(path, "epoch")], []) == ((told := await later.poll()).gaps, told.updates)
        async with running(own.config()) as third:
            assert answer.cursor.epoch == third._dispatcher._ring.epoch
            await resting.move_to(third)
            assert [(path, "epoch")] == (await resting.poll()).gaps
            await own.publish(path, "after")
            for page in pages:
                await hear_until(page, path, "after")


@pytest.mark.usefixtures("store")
async def test_no_gap_is_told_when_nats_comes_back_with_the_whole_log(own: Around, path: str) -> None:
    """I1: a restart is no new epoch."""
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        epoch = replica._dispatcher._ring.epoch
        for number in range(3):
            await page.hold()
            await own.kill()
            await own.start()
            await own.publish(path, str(number))
            answer = await page.receive()
            assert ([], [(path, str(number))], epoch) == (answer.gaps, answer.updates, answer.cursor.epoch)


@pytest.mark.usefixtures("store")
async def test_grant_of_an_older_epoch_has_nothing_of_before_the_new_one(own: Around, path: str, copy: Copy) -> None:
    """I5: what was stored before the new epoch began was stored before the grant, too."""
    await own.publish(path, "old")
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        await copy.take()
        await own.publish(path, "lost")
        assert [(path, "lost")] == (await page.poll()).updates
        granted = await own.grant(1)
        await page.hold()
        await copy.restore()
        await own.start()
        assert [(path, "epoch")] == (await page.receive()).gaps
        late = await Page.begin(replica)
        await own.put(late.uid, record(1, {path: granted}))
        assert [(path, "")] == (await late.poll()).updates
        await late.hold()
        await own.publish(path, "new")
        assert [(path, "new")] == (await late.receive()).updates


async def test_epoch_is_the_same_for_all_when_many_ask_for_a_new_one(store: GrantStore) -> None:
    """I9: one request makes it; the others are answered it."""
    known = (await store.events_head()).epoch
    epochs = await asyncio.gather(*(store.renew_epoch(known) for _ in range(8)))
    assert 1 == len(set(epochs))
    assert known < epochs[0] == (await store.events_head()).epoch


async def test_epoch_stays_when_a_request_for_a_new_one_is_no_good(own: Around, store: GrantStore) -> None:
    """I7: a bad replica can have no epoch in the far future, and no new one each moment."""
    client = await own.client("longpoll")
    renewed = await store.renew_epoch((await store.events_head()).epoch)
    bad = [b"", b"x", b"[]", b'{"epoch":"1"}', b"[" * 50_000, b'{"epoch":9007199254740991}', b'{"epoch":%d}' % renewed]
    for request in bad:
        answer = await client.request("roots.log.renew", request, timeout=stretched(5))
        assert b'"error":""' not in answer.data
    assert renewed == (await store.events_head()).epoch
