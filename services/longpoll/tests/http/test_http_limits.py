"""Bounds of the public port (I7): over each there is a clear answer or an end, and others are not disturbed."""

import asyncio
import socket
import uuid
from functools import partial
from typing import Any

import pytest
from tests.testkit.deadlines import until, within

from roots_longpoll.http import connection
from roots_longpoll.replica import Replica

from ..net_support import DEADLINE_SECONDS, Around, Page, RawConnection, listening_page, running


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
def settings() -> dict[str, Any]:
    """Hold ten polls, on thirty connections."""
    return {"max_held": 10, "max_connections": 30}


@pytest.fixture
async def wire(replica: Replica) -> RawConnection:
    """Return a connection."""
    return await RawConnection.open(replica.port)


async def open_deaf(port: int) -> RawConnection:
    """Return a connection whose system takes in as little as it can while the test does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)  # socket's own
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    wire = RawConnection(*await asyncio.open_connection(sock=sock, limit=1024))
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can
    return wire


async def is_served(replica: Replica) -> bool:
    """Tell whether another client is."""
    wire = await RawConnection.open(replica.port)
    try:
        return (await wire.ask("/")).status == 200
    finally:
        await wire.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 4000 + b"\r\n",
    ],
    ids=["target", "value", "lines"],
)
async def test_answer_is_431_when_the_header_is_too_large(replica: Replica, wire: RawConnection, head: bytes) -> None:
    """The connection ends."""
    await wire.send(head)
    response = await wire.read()
    assert (431, "close") == (response.problem["status"], response.headers["connection"])
    assert b"" == await wire.rest()
    assert await is_served(replica)


async def test_answer_is_431_when_the_header_never_ends(replica: Replica, wire: RawConnection) -> None:
    """Bytes are counted across segments, behind a request that was answered too."""
    await wire.send(b"GET / HTTP/1.1\r\n\r\n")
    assert 200 == (await wire.read()).status
    await wire.send(b"GET / HTTP/1.1\r\n")
    for _ in range(17):
        await wire.send(b"X: " + b"a" * 1000 + b"\r\n")
        await asyncio.sleep(0)
    assert 431 == (await wire.read()).status


async def test_large_header_is_read_when_it_is_within_the_bound(wire: RawConnection) -> None:
    """A browser with many cookies is served."""
    assert 200 == (await wire.ask("/", f"Cookie: {'a' * 15_000}\r\n")).status


async def test_poll_ends_with_its_own_cursor_when_an_endless_header_follows(
    replica: Replica, around: Around, path: str
) -> None:
    """I3: the held poll is answered first, and nothing is acknowledged."""
    page = await listening_page(around, replica, path)
    await page.hold()
    await page.wire.send(b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000)
    assert page.target[1:].encode() in (await page.wire.read()).body
    assert 431 == (await page.wire.read()).status


async def test_answer_is_408_when_the_header_comes_too_slowly(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then does not extend the time."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.5)
    wire = await RawConnection.open(replica.port)
    await wire.send(b"GET / HTTP/1.1\r\n")
    trickle = asyncio.create_task(_trickle(wire))
    response = await wire.read()
    trickle.cancel()
    assert (408, "close") == (response.problem["status"], response.headers["connection"])


async def _trickle(wire: RawConnection) -> None:
    while True:
        await wire.send(b"X: y\r\n")
        await asyncio.sleep(0.1)


async def test_connection_ends_when_nothing_comes(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a client that says nothing at all, nor one that sends blank lines, keeps its place."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)
    silent, blank = await RawConnection.open(replica.port), await RawConnection.open(replica.port)
    await blank.send(b"\r\n")
    assert [b"", b""] == [await silent.rest(), await blank.rest()]


async def test_connection_ends_when_it_is_idle_for_too_long(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep-alive has an end; a held poll has not."""
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.3)
    idle = await RawConnection.open(replica.port)
    assert 200 == (await idle.ask("/")).status
    page = await Page.begin(replica)
    await page.hold()
    assert b"" == await idle.rest()
    assert await page.wire.is_quiet()


async def test_poll_stays_held_when_it_followed_another_on_its_connection(
    replica: Replica, around: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of the connection is not that of the poll, whatever came before it."""
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.3)
    page = await listening_page(around, replica, path)
    await page.hold()
    await page.hold()
    assert page.target[1:].encode() in (await page.wire.read()).body
    idle = await RawConnection.open(replica.port)
    await idle.ask("/")
    assert b"" == await idle.rest()
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates


async def test_answer_is_503_when_there_are_too_many_held_polls(replica: Replica) -> None:
    """With Retry-After, on a connection that stays; room is made by who leaves."""
    pages = [await Page.begin(replica) for _ in range(11)]
    for page in pages[:10]:
        await page.hold()
    await until(lambda: len(replica._dispatcher.held) == 10)
    await pages[10].hold()
    refused = await pages[10].wire.read()
    assert (503, "1") == (refused.problem["status"], refused.headers["retry-after"])
    await pages[0].wire.close()
    await until(lambda: len(replica._dispatcher.held) == 9)
    await pages[10].hold()
    await until(lambda: len(replica._dispatcher.held) == 10)


async def test_answer_is_503_when_there_are_too_many_connections(replica: Replica) -> None:
    """The connection ends; room is made by who leaves."""
    wires = [await RawConnection.open(replica.port) for _ in range(30)]
    for wire in wires:
        assert 200 == (await wire.ask("/")).status
    refused = await (await RawConnection.open(replica.port)).read()
    assert (503, "1", "close") == (
        refused.problem["status"], refused.headers["retry-after"], refused.headers["connection"],
    )  # fmt: skip
    assert 1 == replica._stats.connections_refused
    for wire in wires[:5]:
        await wire.close()
    await until(lambda: len(replica._server) < 30)
    assert await is_served(replica)


async def test_thousand_requests_are_answered_when_they_are_pipelined_and_read(
    replica: Replica, wire: RawConnection
) -> None:
    """Each of them, on one connection."""
    sending = asyncio.create_task(wire.send(b"GET / HTTP/1.1\r\n\r\n" * 1000))
    uids = {(await wire.read()).answer.uid for _ in range(1000)}
    await sending
    assert 1000 == len(uids)


async def test_others_are_served_when_a_client_pipelines_thousands_of_requests_and_never_reads(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its requests wait in a bounded queue, and it is cut off."""
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.5)
    deaf = await open_deaf(replica.port)
    # The systems between take in megabytes before the replica notices.
    for _ in range(50):
        deaf.writer.write(b"GET / HTTP/1.1\r\n\r\n" * 1000)
    assert await is_served(replica)
    await until(lambda: not len(replica._server))


async def test_client_is_cut_off_when_it_never_reads_a_large_answer(
    replica: Replica, around: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It delays nobody who receives the same path."""
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.5)
    page = await listening_page(around, replica, path)
    deaf = await listening_page(around, replica, path)
    await deaf.wire.close()
    deaf.wire = await open_deaf(replica.port)
    for _ in range(100):
        await around.publish(path, "x" * 60_000)
    for _ in range(40):
        await deaf.hold()
    received = 0
    while received < 100:
        received += len((await page.poll()).updates)
    await until(lambda: replica._stats.slow_clients == 1)
    await page.hold()
    await around.publish(path, "y")
    assert [(path, "y")] == (await page.receive()).updates


@pytest.mark.parametrize("is_ended", [True, False])
async def test_connection_ends_when_a_small_rest_of_an_answer_is_never_read(
    replica: Replica,
    around: Around,
    path: str,
    is_ended: bool,  # noqa: FBT001  # a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I7: also bytes that are too few to stop reading requests do not keep a place for ever."""
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.3)
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.3)
    page = await listening_page(around, replica, path)
    await page.wire.close()
    page.wire = await open_deaf(replica.port)
    await around.publish(path, "x" * 30_000)
    async with within(DEADLINE_SECONDS):
        while not _has_unsent(replica):
            answered = replica._stats.deliveries
            await page.wire.get(page.target)
            await until(partial(_has_delivered_more, replica, answered))
    if is_ended:
        await page.wire.get("/", "Connection: close\r\n")
    await until(lambda: not len(replica._server))


def _has_delivered_more(replica: Replica, before: int) -> bool:
    return replica._stats.deliveries > before


def _has_unsent(replica: Replica) -> bool:
    connections = [one for part in replica._server._slices for one in part]
    return any(one._transport.get_write_buffer_size() for one in connections)  # type: ignore[attr-defined]  # a Connection


async def test_many_connections_come_and_go_when_clients_are_in_a_hurry(around: Around) -> None:
    """Nothing is left of clients that leave before, while, and after they are answered."""
    async with running(around.config()) as replica:
        for data in (b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00") * 20:
            wire = await RawConnection.open(replica.port)
            wire.writer.write(data)
            await wire.close()
        await until(lambda: not len(replica._server))
        assert 0 == len(replica._dispatcher.held)
