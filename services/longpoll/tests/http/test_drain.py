"""The end of a replica (I8): nobody loses an event, and nobody comes back at the same moment as all the others."""

import asyncio
import time
import uuid
from typing import Any

import pytest
from tests.testkit.deadlines import clock, until, within

from roots_longpoll.delivery import dispatcher
from roots_longpoll.replica import Replica

from ..net_support import Around, Page, RawConnection, listening_page

DRAIN_SECONDS = 2.0
PAGES = 40


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


class Stopping:
    """A replica that a test asks to stop, as SIGTERM does."""

    def __init__(self, around: Around, **settings: Any) -> None:
        self.replica = Replica(around.config(drain_seconds=DRAIN_SECONDS, **settings))
        self._stopped = asyncio.Event()
        self._task = asyncio.create_task(self.replica.run(self._stopped))

    async def ready(self) -> Replica:
        """Return the replica, once it serves."""
        await until(lambda: self.replica.listening.is_set() and self.replica._server.refusal is None)
        return self.replica

    async def stop(self) -> None:
        """Ask it to stop, and return once it knows."""
        self._stopped.set()
        await until(lambda: self.replica._server.is_draining)

    async def gone(self) -> None:
        """Return once it has ended."""
        async with within(DRAIN_SECONDS + 2):
            await self._task


def failed_drains(replica: Replica) -> float:
    """Return how many drains of `replica` it tells Prometheus of as failed."""
    families = {family.name: family for family in replica._health.collect()}
    return families["roots_process_drain_failures"].samples[0].value


async def test_held_polls_are_answered_over_the_window_when_the_replica_drains(around: Around, path: str) -> None:
    """I8: spread evenly, each with a wait of its own and the end of its connection; then the replica is gone."""
    stopping = Stopping(around)
    replica = await stopping.ready()
    pages = [await listening_page(around, replica, path) for _ in range(PAGES)]
    for page in pages:
        await page.hold()
    await until(lambda: len(replica._dispatcher.held) == PAGES)
    began, counted = time.monotonic(), clock()
    await stopping.stop()

    async def sent_away(page: Page) -> tuple[float, int]:
        response = await page.wire.read()
        after = time.monotonic() - began
        assert ("close", []) == (response.headers["connection"], response.answer.updates)
        assert b"" == await page.wire.rest()
        assert response.answer.retry is not None
        return after, response.answer.retry

    results = await asyncio.gather(*(sent_away(page) for page in pages))
    await stopping.gone()
    assert clock() - counted < DRAIN_SECONDS + 1
    low, high = dispatcher.DRAIN_RETRY_MS
    assert all(low <= retry <= high for _, retry in results)
    assert len({retry for _, retry in results}) > PAGES / 4
    # No part of the window is empty, and none has them all.
    parts = [0, 0, 0, 0]
    for after, _ in results:
        parts[min(3, int(after / (DRAIN_SECONDS * 0.8) * 4))] += 1
    assert min(parts) >= PAGES / 8
    assert max(parts) <= PAGES / 2


async def test_no_event_is_lost_when_it_comes_during_a_drain(around: Around, path: str) -> None:
    """I1, I8: whether a client was sent away already or not, it receives it, here or at the next replica."""
    stopping = Stopping(around)
    replica = await stopping.ready()
    following = Stopping(around)
    second = await following.ready()
    pages = [await listening_page(around, replica, path) for _ in range(10)]
    for page in pages:
        await page.hold()
    await until(lambda: len(replica._dispatcher.held) == 10)
    await stopping.stop()

    async def hear_three(page: Page) -> list[str]:
        received: list[str] = []
        while len(received) < 3:
            received += [message for _, message in (await page.receive()).updates]
            await page.move_to(second)
            await page.hold()
        return received

    listening = asyncio.gather(*(hear_three(page) for page in pages))
    await until(lambda: len(replica._dispatcher.held) <= 7)
    for number in range(3):
        await around.publish(path, str(number))
    assert [["0", "1", "2"]] * 10 == await listening
    await stopping.gone()
    await following.stop()
    await following.gone()


async def test_replica_is_unready_at_once_when_it_drains(around: Around) -> None:
    """I8: and goes on answering while what balances in front notices."""
    stopping = Stopping(around, drain_linger_seconds=0.5)
    replica = await stopping.ready()
    kept = await RawConnection.open(replica.port)
    await stopping.stop()
    assert not replica._health.checks()["draining"].is_ok
    late = await RawConnection.open(replica.port)
    for wire in (kept, late):
        response = await wire.ask("/")
        assert (200, "close") == (response.status, response.headers["connection"])
    await stopping.gone()
    with pytest.raises(OSError):
        await RawConnection.open(replica.port)


async def test_new_poll_is_sent_on_when_it_comes_during_a_drain(around: Around, path: str) -> None:
    """I8: with a wait, within the window."""
    stopping = Stopping(around, drain_linger_seconds=0.5)
    replica = await stopping.ready()
    page = await listening_page(around, replica, path)
    await stopping.stop()
    answer = await page.poll()
    assert ([], True) == (answer.updates, answer.retry is not None)
    assert b"" == await page.wire.rest()
    await stopping.gone()


async def test_drain_ends_at_once_when_nobody_is_there(around: Around) -> None:
    """A quiet replica does not wait for its window."""
    stopping = Stopping(around)
    await stopping.ready()
    began = clock()
    await stopping.stop()
    await stopping.gone()
    assert clock() - began < DRAIN_SECONDS / 2
    assert 0 == failed_drains(stopping.replica)


async def test_drain_ends_in_time_when_a_client_sends_half_a_request(around: Around) -> None:
    """I7, I8: nobody keeps a replica from its end."""
    stopping = Stopping(around)
    replica = await stopping.ready()
    half = await RawConnection.open(replica.port)
    await half.send(b"GET / HTTP/1.1\r\n")
    began = clock()
    await stopping.stop()
    await stopping.gone()
    assert clock() - began < DRAIN_SECONDS + 1
    assert 1 == failed_drains(replica)


async def test_replica_ends_when_it_was_never_ready(own: Around) -> None:
    """A replica without NATS stops like any other, also before it takes connections."""
    await own.kill()
    stopping = Stopping(own)
    await until(lambda: stopping.replica.port)
    await stopping.stop()
    await stopping.gone()
