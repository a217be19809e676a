"""Records that the bucket no longer has: purged, expired unseen, or gone with the bucket."""

import asyncio
import json
import uuid

import pytest
from tests.testkit.deadlines import until

from roots.contracts.subjects import GRANTS_PREFIX, GRANTS_STREAM
from roots.nats import presence
from roots.nats.log_epoch import LOG_SUBJECT
from roots.nats.reader import JetStreamReader
from roots_longpoll.stream import follower
from roots_longpoll.stream.follower import Follower
from roots_longpoll.stream.vanished import VanishedGrants

from ..dispatcher_support import record
from ..net_support import Around, listening_page, running

WAYS = ["purge all", "purge one", "create again", "purge and write another", "missed marker that has ended"]


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare in short rounds."""
    monkeypatch.setattr(presence, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 0.3)


async def remove(around: Around, uid: bytes, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the record of `uid` out of the store."""
    only = json.dumps({"filter": GRANTS_PREFIX + uid.decode()}).encode()
    if way == "purge all":
        await around.administrate(f"STREAM.PURGE.{GRANTS_STREAM}")
    elif way == "purge one":
        await around.administrate(f"STREAM.PURGE.{GRANTS_STREAM}", only)
    elif way == "create again":
        await around.administrate(f"STREAM.DELETE.{GRANTS_STREAM}")
        await around.provision()
    elif way == "purge and write another":
        await around.administrate(f"STREAM.PURGE.{GRANTS_STREAM}")
        for number in range(5):
            await around.put(f"other{number}".encode(), record(1, {}))
    else:
        receive = Follower.receive
        monkeypatch.setattr(Follower, "receive", lambda *_: None)
        await around.put(uid, b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub"})
        await around.administrate(f"STREAM.PURGE.{GRANTS_STREAM}", only)
        monkeypatch.setattr(Follower, "receive", receive)


@pytest.mark.parametrize("way", WAYS)
async def test_held_poll_hears_nothing_more_when_its_record_is_gone(
    own: Around, path: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: the client begins again under a new uid, as one whose grants have expired."""
    async with running(own.config()) as replica:
        kept = await listening_page(own, replica, path)
        page = await listening_page(own, replica, path)
        await page.hold()
        await until(lambda: len(replica._dispatcher.held))

        await remove(own, page.uid, way, monkeypatch)

        answer = await page.receive()
        assert ([], True) == (answer.updates, answer.uid != page.uid)
        await own.publish(path, "secret")
        await page.hold()
        assert await page.wire.is_quiet()
        if way in {"purge one", "missed marker that has ended"}:
            assert [(path, "secret")] == (await kept.poll()).updates


@pytest.mark.parametrize("way", WAYS)
async def test_later_poll_hears_nothing_when_its_record_went_between_polls(
    own: Around, path: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: the view does not keep what nobody waits for."""
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        await remove(own, page.uid, way, monkeypatch)
        await until(lambda: page.uid not in dict(replica._view.revisions()))
        await own.publish(path, "secret")

        answer = await page.poll()

        assert ([], True) == (answer.updates, answer.uid != page.uid)


async def test_every_held_poll_is_answered_when_the_bucket_is_purged_under_many(own: Around, path: str) -> None:
    """I5: an empty bucket is one answer for all of them."""
    async with running(own.config()) as replica:
        pages = [await listening_page(own, replica, path) for _ in range(40)]
        for page in pages:
            await page.hold()
        await until(lambda: len(replica._dispatcher.held) == len(pages))
        await own.administrate(f"STREAM.PURGE.{GRANTS_STREAM}")
        answers = [await page.receive() for page in pages]
        assert [[]] * len(pages) == [answer.updates for answer in answers]
        assert not {page.uid for page in pages} & {answer.uid for answer in answers}


async def test_record_that_was_read_before_it_went_is_not_believed_when_it_comes_late(
    own: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: a slow answer of the store does not bring a purged record back."""
    async with running(own.config()) as first:
        page = await listening_page(own, first, path)
    read, gate = asyncio.Event(), asyncio.Event()
    last_of = JetStreamReader.last_of

    async def late(reader: JetStreamReader, subject: str) -> object:
        found = await last_of(reader, subject)
        # A replica opens its port only once it has read the log's epoch.
        if subject != LOG_SUBJECT:
            read.set()
            await gate.wait()
        return found

    compared = asyncio.Event()
    compare = VanishedGrants._compare

    async def noted(vanished: VanishedGrants, present: presence.Present) -> None:
        await compare(vanished, present)
        if not present.subjects:
            compared.set()

    monkeypatch.setattr(JetStreamReader, "last_of", late)
    monkeypatch.setattr(VanishedGrants, "_compare", noted)
    async with running(own.config()) as second:
        await page.move_to(second)
        await page.hold()
        await read.wait()
        await own.administrate(f"STREAM.PURGE.{GRANTS_STREAM}")
        await compared.wait()
        gate.set()
        answer = await page.receive()
        assert ([], True) == (answer.updates, answer.uid != page.uid)
