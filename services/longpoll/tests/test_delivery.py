"""Delivery from end to end: a real nats-server, a replica, and clients over real sockets."""

import asyncio
import time
import uuid

import pytest
from tests.testkit.deadlines import clock, until

from roots.contracts.uids import Uids
from roots_longpoll.delivery.cursor import Cursor, render
from roots_longpoll.replica import Replica

from .dispatcher_support import UID_KEY
from .net_support import Around, Page, RawConnection, listening_page, running

DISCONNECT = "::+::disconnect"


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


async def test_first_poll_is_answered_at_once_when_a_client_begins(replica: Replica, around: Around) -> None:
    """It gets a uid that the other services accept, no updates, and the cursor of now."""
    head = await around.publish("others")
    wire = await RawConnection.open(replica.port)
    answer = (await wire.ask("/")).answer
    assert ([], [], None, 0) == (answer.updates, answer.gaps, answer.retry, answer.cursor.grants)
    assert answer.cursor.seq <= head + 1
    assert Uids(UID_KEY).is_valid(answer.uid.decode())


async def test_path_is_confirmed_when_it_is_granted_under_a_held_poll(
    replica: Replica, around: Around, path: str
) -> None:
    """The poll wakes with an empty message."""
    page = await Page.begin(replica)
    await page.hold()
    await around.connect(page.uid, path)
    assert [(path, "")] == (await page.receive()).updates


async def test_event_reaches_a_held_poll_when_it_is_published(replica: Replica, around: Around, path: str) -> None:
    """I1: with the cursor after it, so that the next poll waits."""
    page = await listening_page(around, replica, path)
    await page.hold()
    seq = await around.publish(path, '{"guid":"/task/1","description":"ü"}')
    answer = await page.receive()
    assert ([(path, '{"guid":"/task/1","description":"ü"}')], seq) == (answer.updates, answer.cursor.seq)
    await page.hold()
    assert await page.wire.is_quiet()


async def test_events_between_polls_come_together_when_the_client_polls(
    replica: Replica, around: Around, path: str
) -> None:
    """I1, I2: in their order."""
    page = await listening_page(around, replica, path)
    for number in range(3):
        await around.publish(path, str(number))
    received: list[str] = []
    while len(received) < 3:
        received += [message for _, message in (await page.poll()).updates]
    assert ["0", "1", "2"] == received


async def test_lost_answer_comes_again_when_the_client_repeats_its_poll(
    replica: Replica, around: Around, path: str
) -> None:
    """I3: the next request acknowledges, and nothing else does."""
    page = await listening_page(around, replica, path)
    await page.hold()
    await around.publish(path, "x")
    await page.wire.read()
    await page.move_to(replica)
    assert [(path, "x")] == (await page.poll()).updates


async def test_disconnect_notice_comes_within_a_second_when_a_grant_is_withdrawn(
    replica: Replica, around: Around, path: str
) -> None:
    """I5: the held poll learns of it, and no event after."""
    page = await listening_page(around, replica, path)
    await page.hold()
    withdrawn = clock()
    await around.connect(page.uid, gone={path: 2})
    assert [(DISCONNECT, path)] == (await page.receive()).updates
    assert clock() - withdrawn < 1.0
    await page.hold()
    await around.publish(path, "secret")
    assert await page.wire.is_quiet()


@pytest.mark.parametrize("header", [{"KV-Operation": "DEL"}, {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}])
async def test_client_begins_anew_when_its_record_is_deleted(
    replica: Replica, around: Around, path: str, header: dict[str, str]
) -> None:
    """It gets a new uid at once, and so connects its paths again."""
    page = await listening_page(around, replica, path)
    await page.hold()
    await around.put(page.uid, b"", header)
    answer = await page.receive()
    assert page.uid != answer.uid
    assert [] == answer.updates


@pytest.mark.parametrize(
    "uid",
    [
        "forged", "x" * 43, "undefined", "%00", "a" * 5000,
        Uids(b"another key, of 32 bytes or even more").mint(), Uids(UID_KEY).mint(now=1.0), Uids(UID_KEY).mint()[:-1],
    ],
    ids=["short", "forged", "undefined", "escaped", "long", "other-key", "expired", "cut"],
)  # fmt: skip
async def test_client_begins_anew_when_its_uid_is_not_valid(replica: Replica, uid: str) -> None:
    """A uid that is unknown, forged or expired is answered as a first poll."""
    wire = await RawConnection.open(replica.port)
    answer = (await wire.ask(f"/{uid}/1.1.1")).answer
    assert uid != answer.uid.decode()
    assert Uids(UID_KEY).is_valid(answer.uid.decode())


async def test_record_is_fetched_when_the_replica_began_after_the_grant(around: Around, path: str) -> None:
    """I6: another replica knows nothing of a client, and serves it the same."""
    async with running(around.config()) as first:
        page = await listening_page(around, first, path)
        await around.publish(path, "between")
    async with running(around.config()) as second:
        await page.move_to(second)
        assert [(path, "between")] == (await page.poll()).updates
        await page.hold()
        await around.publish(path, "after")
        assert [(path, "after")] == (await page.receive()).updates


async def test_older_poll_ends_when_a_newer_one_comes_on_another_connection(
    replica: Replica, around: Around, path: str
) -> None:
    """The newest poll wins; the older one gets its own cursor back."""
    page = await listening_page(around, replica, path)
    await page.hold()
    older, target = page.wire, page.target
    await until(lambda: len(replica._dispatcher.held) == 1)
    page.wire = await RawConnection.open(replica.port)
    await page.hold()
    answer = (await older.read()).answer
    assert ([], target) == (answer.updates, f"/{answer.uid.decode()}/{_text(answer.cursor)}")
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates


async def test_hold_ends_with_the_cursor_moved_on_when_nothing_comes(around: Around, path: str) -> None:
    """I7: a hold takes 0.8 to 1.0 of its time; filtered events are considered."""
    async with running(around.config(hold_seconds=1.0)) as replica:
        page = await listening_page(around, replica, path)
        began, counted = time.monotonic(), clock()
        await page.hold()
        seq = await around.publish("others")
        answer = await page.receive()
        assert ([], seq) == (answer.updates, answer.cursor.seq)
        assert time.monotonic() - began >= 0.5
        assert clock() - counted <= 1.6


async def test_many_updates_come_in_parts_when_they_are_over_the_bound(
    replica: Replica, around: Around, path: str
) -> None:
    """I1, I7: 256 in one answer; the rest at once on the next poll."""
    page = await listening_page(around, replica, path)
    await asyncio.gather(*(around.publish(path, str(number)) for number in range(300)))
    received: list[str] = []
    while len(received) < 300:
        updates = (await page.poll()).updates
        assert 0 < len(updates) <= 256
        received += [message for _, message in updates]
    assert {str(number) for number in range(300)} == set(received)


async def test_event_is_delivered_when_it_has_no_time_and_is_not_utf8(
    replica: Replica, around: Around, path: str
) -> None:
    """Bytes that JSON can't carry are replaced; a publisher's mistake stops nobody."""
    page = await listening_page(around, replica, path)
    await page.hold()
    await around.publish(path, b"\xff\x00")
    assert [(path, "\ufffd\x00")] == (await page.receive()).updates


async def test_thousand_held_polls_hear_each_event_once_and_in_order(around: Around, path: str) -> None:
    """I1, I2: on one path, 50 events."""
    async with running(around.config()) as replica:
        shared = await Page.begin(replica)
        pages = [shared, *await asyncio.gather(*(Page.begin(replica) for _ in range(999)))]
        await asyncio.gather(*(around.connect(page.uid, path) for page in pages))
        await asyncio.gather(*(_confirm(page, path) for page in pages))

        async def listen(page: Page) -> list[str]:
            received: list[str] = []
            while len(received) < 50:
                received += [message for _, message in (await page.poll()).updates]
            return received

        listening = asyncio.gather(*(listen(page) for page in pages))
        for number in range(50):
            await around.publish(path, str(number))
        assert [[str(number) for number in range(50)]] * 1000 == await listening
        assert 50_000 == replica._stats.deliveries
        await asyncio.gather(*(page.wire.close() for page in pages))


async def _confirm(page: Page, path: str) -> None:
    assert [(path, "")] == (await page.poll()).updates


def _text(cursor: tuple[int, int, int]) -> str:
    return render(Cursor(*cursor)).decode()
