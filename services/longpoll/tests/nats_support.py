"""NATS's side of a live connection: its lines, its messages, and a server that follows a script."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from roots.nats.broker import BrokerConfig
from roots.nats.stored import Stored
from roots_longpoll.stream.live import LiveFeed
from roots_longpoll.stream.nats_protocol import Subscription

EVENT_TIME = "Roots-Time"
INFO = b'INFO {"server_id":"x","version":"2.11.0","max_payload":131072,"auth_required":true}\r\n'
DEADLINE_SECONDS = 15.0


def head_of(seq: int, *lines: str) -> bytes:
    """Return the headers of a message that was republished, after those that it was published with."""
    own = "".join(f"{line}\r\n" for line in lines)
    return f"NATS/1.0\r\n{own}Nats-Stream: S\r\nNats-Sequence: {seq}\r\nNats-Last-Sequence: 0\r\n\r\n".encode()


def message(seq: int, data: bytes, *lines: str, subject: str = "live.a.x", sid: int = 1) -> bytes:
    """Return a republished message as the server sends it."""
    head = head_of(seq, *lines)
    return b"HMSG %b %d %d %d\r\n%b%b\r\n" % (subject.encode(), sid, len(head), len(head) + len(data), head, data)


def subscriptions(taken: list[Stored]) -> Sequence[Subscription]:
    """Return two that keep what they take, in the order in which it comes."""
    return [
        Subscription(live_prefix="live.a.", prefix="a.", headers=(EVENT_TIME,), take=taken.append),
        Subscription(live_prefix="live.b.", prefix="$b.", headers=(), take=taken.append),
    ]


class Peer:
    """A server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received: list[bytes] = []

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def receive(self, word: bytes) -> bytes:
        """Return the next line that begins with `word`."""
        while True:
            line = await self.reader.readline()
            if not line:
                raise ConnectionError
            self.received.append(line)
            if line.startswith(word):
                return line

    async def welcome(self) -> None:
        """Take the client in, as NATS does."""
        self.say(INFO)
        await self.answer_ping()
        await self.answer_ping()

    async def answer_pings(self) -> None:
        """Answer until the client goes."""
        while True:
            await self.answer_ping()

    async def answer_ping(self) -> None:
        """Answer the next one."""
        await self.receive(b"PING")
        self.say(b"PONG\r\n")


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """A server whose connections each follow the next script, and the last of them again and again."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.port = 0
        self.peers: list[Peer] = []
        self.accepted: list[float] = []
        self._scripts = scripts

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self.port}"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Follow the script of one connection, then hang up."""
        self.accepted.append(asyncio.get_running_loop().time())
        peer = Peer(reader, writer)
        self.peers.append(peer)
        with contextlib.suppress(OSError):
            await self._scripts[min(len(self.peers), len(self._scripts)) - 1](peer)
        writer.close()


@contextlib.asynccontextmanager
async def serving(*scripts: Script) -> AsyncIterator[Server]:
    """Run a server."""
    server = Server(scripts)
    listener = await asyncio.start_server(server.take, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            peer.writer.transport.abort()


class Receiver:
    """What one feed brings. Shape: changes has whether it was connected, at each change."""

    def __init__(self, config: BrokerConfig, take: Callable[[Stored], None] | None = None) -> None:
        self.taken: list[Stored] = []
        self.changes: list[bool] = []
        received = subscriptions(self.taken)
        if take is not None:
            received = [Subscription(live_prefix="live.a.", prefix="a.", headers=(), take=take)]
        self.feed = LiveFeed(config, received, self.changes.append)


@contextlib.asynccontextmanager
async def listening(
    url: str, take: Callable[[Stored], None] | None = None, **settings: str | bool
) -> AsyncIterator[Receiver]:
    """Run a feed until the end of the block; fail when it ended by itself."""
    usual: dict[str, str | bool] = {"user": "longpoll", "password": "secret"}
    receiver = Receiver(BrokerConfig(url=url, **(usual | settings)), take)  # type: ignore[arg-type]  # names of its fields
    task = asyncio.create_task(receiver.feed.run())
    try:
        yield receiver
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])
