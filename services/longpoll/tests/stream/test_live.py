"""The live way: a connection that is made again whatever becomes of it, and what is delivered while it is away."""

import asyncio
import itertools
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trustme
from tests.testkit.deadlines import clock, until

from roots.nats.stored import Stored
from roots.nats.streams import NatsUnavailableError
from roots_devstack.processes import ports
from roots_longpoll.stream import live
from roots_longpoll.stream.live import LiveFeed
from roots_longpoll.stream.nats_protocol import NatsProtocol

from ..nats_support import INFO, Peer, Receiver, Script, listening, message, serving
from ..net_support import Around, listening_page, running, streams_of

DISCONNECT = "::+::disconnect"


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a feed lose patience sooner."""
    monkeypatch.setattr(live, "RECONNECT_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(live, "PING_SECONDS", 0.1)


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    """Return what is logged, as it is."""
    with structlog.testing.capture_logs() as events:
        yield events


async def leaving(peer: Peer) -> None:
    """Take the client in, and hang up."""
    await peer.welcome()


async def good(peer: Peer) -> None:
    """Take the client in, say one event, and stay."""
    await peer.welcome()
    await peer.answer_ping()
    peer.say(message(7, b"good"))
    await peer.answer_pings()


def saying(*words: bytes) -> Script:
    """Return the script of a server that says so much to a client that is in, and hangs up."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.receive(b"PING")
        peer.say(b"".join(words))
        await peer.writer.drain()

    return script


async def heard_good(receiver: Receiver) -> None:
    """Return once the feed has received the event of the server that is good."""
    await until(lambda: any(stored.data == b"good" for stored in receiver.taken))


async def test_feed_hears_and_answers_when_the_server_pings() -> None:
    """The connection says who it is, what it wants, and that it is there."""
    async with serving(good) as server, listening(server.url) as receiver:
        await heard_good(receiver)
        (peer,) = server.peers
        peer.say(b"PING\r\n")
        await until(lambda: len(peer.received) > 6)
        introduction, *rest = peer.received
        assert introduction.startswith(b'CONNECT {"verbose":false')
        assert b'"user":"longpoll","pass":"secret"' in introduction
        assert [b"PING\r\n", b"SUB live.a.> 1\r\n", b"SUB live.b.> 2\r\n", b"PING\r\n"] == rest[:4]
        assert b"PONG\r\n" in rest
        assert ([True], 1) == (receiver.changes, receiver.feed.connections)


@pytest.mark.parametrize(
    "bad",
    [
        saying(),
        saying(message(1, b"whole"), message(2, b"cut in the middle")[:-9]),
        saying(message(1, b"whole"), b"HMSG live.a.x 1 x y\r\n"),
        saying(message(1, b"whole"), b"HMSG live.a.x 1 0 -1\r\n"),
        saying(message(1, b"whole"), b"HMSG live.a.x 5 0 1\r\nx\r\n"),
        saying(message(1, b"whole"), b"-ERR 'Slow Consumer'\r\n"),
        saying(message(1, b"whole"), b"a" * 10_000),
    ],
    ids=[
        "hangs up",
        "hangs up in a message",
        "no sizes",
        "negative size",
        "unknown subscription",
        "error",
        "long line",
    ],
)
async def test_feed_connects_again_when_the_server_fails_after_its_welcome(bad: Script) -> None:
    """I9: each failure costs one connection, which is counted and told; what was received whole before counts."""
    async with serving(bad, bad, good) as server, listening(server.url) as receiver:
        await heard_good(receiver)
        assert [True, False, True, False, True] == receiver.changes
        assert (3, True) == (receiver.feed.connections, receiver.feed.is_connected)
        assert {b"whole", b"good"} >= {stored.data for stored in receiver.taken}


async def silent(peer: Peer) -> None:
    """Say nothing at all."""
    await peer.reader.read()


async def frozen(peer: Peer) -> None:
    """Say nothing more after the welcome."""
    await peer.welcome()
    await peer.reader.read()


async def odd(peer: Peer) -> None:
    """Be another kind of server."""
    peer.say(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await peer.reader.read()


async def denying(peer: Peer) -> None:
    """Refuse a subscription, as the permissions of a wrong user do, and go on as if nothing were."""
    peer.say(INFO)
    await peer.answer_ping()
    await peer.receive(b"PING")
    peer.say(b"-ERR 'Permissions Violation for Subscription to \"live.a.>\"'\r\nPONG\r\n")
    await peer.reader.read()


@pytest.mark.parametrize("bad", [silent, odd, denying])
async def test_feed_tries_again_when_the_server_is_of_no_use(bad: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """I9: before it receives, the feed is not connected, however long a server keeps it waiting."""
    monkeypatch.setattr(live, "CONNECT_TIMEOUT_SECONDS", 0.1)
    async with serving(bad, good) as server, listening(server.url) as receiver:
        await heard_good(receiver)
        assert 2 == len(server.accepted)


async def test_feed_connects_again_when_the_server_is_silent(logged: list[structlog.typing.EventDict]) -> None:
    """I9: a server that no longer answers is left, though its connection stays open."""
    async with serving(frozen, good) as server, listening(server.url) as receiver:
        await heard_good(receiver)
        assert [True, False, True] == receiver.changes
        assert ["TimeoutError"] == [one["error"] for one in logged if one["event"] == "live_lost"]


async def test_server_is_not_overrun_when_it_ends_each_connection_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica asks no server more than a few times a second."""
    monkeypatch.setattr(live, "RECONNECT_WAIT_SECONDS", 0.2)
    async with serving(leaving) as server, listening(server.url):
        await until(lambda: len(server.accepted) > 3)
        gaps = [after - before for before, after in itertools.pairwise(server.accepted)]
        assert min(gaps) > 0.15


async def test_feed_finds_the_server_that_runs_when_others_of_the_list_do_not() -> None:
    """Any order of the list will do; a name without a scheme is one of NATS."""
    async with serving(good) as server:
        closed = [f"nats://{ports.HOST}:{ports.reserve()}" for _ in range(2)]
        for url in (server.url, server.url.removeprefix("nats://")):
            async with listening(", ".join([closed[0], url, closed[1]])) as receiver:
                await heard_good(receiver)


async def test_feed_moves_on_when_its_server_dies() -> None:
    """I9: the list is a ring."""
    async with serving(leaving) as first, serving(good) as second, listening(f"{first.url},{second.url}") as receiver:
        await heard_good(receiver)


async def test_connection_is_made_again_when_a_message_can_not_be_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """I9: a fault of ours in one message is logged and costs a connection, not the feed."""
    taken: list[int] = []

    def take(stored: Stored) -> None:
        taken.append(stored.seq)
        if len(taken) == 1:
            raise LookupError("a fault")

    async with serving(good) as server, listening(server.url, take) as receiver:
        await until(lambda: len(taken) == 2)
        assert 2 == receiver.feed.connections
    assert "LookupError" in caplog.text


async def test_nothing_is_told_or_taken_when_somebody_speaks_before_tls(tmp_path: Path) -> None:
    """I5, I10: with the handshake after INFO, who adds to INFO receives no password and grants nothing."""
    received: list[bytes] = []

    async def inject(peer: Peer) -> None:
        peer.say(INFO + message(1, b"forged") + b"PONG\r\n")
        received.append(await peer.reader.read())

    async def inject_part(peer: Peer) -> None:
        peer.say(INFO + b"HMSG live.a.x 1 0 ")
        received.append(await peer.reader.read())

    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    async with (
        serving(inject, inject_part) as server,
        listening(server.url, tls_ca=str(authority), tls_first=False) as receiver,
    ):
        await until(lambda: len(received) >= 3)
        assert ([], []) == (receiver.taken, receiver.changes)
    assert {b""} == set(received)


async def test_feed_is_told_why_when_the_password_is_wrong(
    around: Around, logged: list[structlog.typing.EventDict]
) -> None:
    """I10: NATS's word is logged, once for many tries, and no password."""
    async with listening(around.server.url, password="wrong-secret") as receiver:
        await until(lambda: logged)
        await asyncio.sleep(0.3)
        assert ([], 0) == (receiver.changes, receiver.feed.connections)
    (event,) = logged
    assert ("live_unreachable", "NATS said -ERR 'Authorization Violation'") == (event["event"], event["detail"])
    assert "wrong-secret" not in str(event)


async def test_replica_is_unready_and_recovers_when_nats_freezes(own: Around, path: str) -> None:
    """I9: a server that is stopped and goes on, with its connections open, costs nobody an event."""
    async with running(own.config()) as replica:
        page = await listening_page(own, replica, path)
        await page.hold()
        nats = own.server.servers[0].process
        nats.kill(signal.SIGSTOP)
        try:
            await until(lambda: not replica._health.checks()["broker"].is_ok)
        finally:
            nats.kill(signal.SIGCONT)
        await until(lambda: all(check.is_ok for check in replica._health.checks().values()))
        await own.publish(path, "after")
        assert [(path, "after")] == (await page.receive()).updates
        assert 2 <= streams_of(replica).live.connections


async def test_events_and_withdrawals_come_within_a_second_when_the_live_way_is_away(
    around: Around, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, I5: while requests work, both streams are compared several times a second."""
    async with running(around.config()) as replica:
        page = await listening_page(around, replica, path)

        async def refuse(*_: object) -> None:
            raise NatsUnavailableError("away")

        feed = streams_of(replica).live
        monkeypatch.setattr(LiveFeed, "_connect", refuse)
        monkeypatch.setattr(NatsProtocol, "stay", refuse)
        await until(lambda: not feed.is_connected)
        for number in range(3):
            await page.hold()
            await around.publish(path, str(number))
            published = clock()
            assert [(path, str(number))] == (await page.receive()).updates
            assert clock() - published < 1.0
        await page.hold()
        await around.connect(page.uid, gone={path: 2})
        withdrawn = clock()
        assert [(DISCONNECT, path)] == (await page.receive()).updates
        assert clock() - withdrawn < 1.0
        await page.hold()
        await around.publish(path, "secret")
        assert await page.wire.is_quiet()
