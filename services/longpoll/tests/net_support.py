"""A replica in the test's own event loop, a client that speaks bytes, and the services around it as NATS users."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import msgspec
from nats.aio.client import Client
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, until, within
from tests.testkit.faults import crash

from roots.contracts.subjects import EVENTS_STREAM, GRANTS_PREFIX, GRANTS_STREAM, subject_of
from roots.nats import broker
from roots.nats.reader import JetStreamReader
from roots_devstack.servers.broker import Broker, User
from roots_longpoll.config import Config
from roots_longpoll.delivery.cursor import render
from roots_longpoll.replica import Replica, Streams

from .dispatcher_support import UID_KEY, Answer, grant, read_answer, record

DEADLINE_SECONDS = 15.0
QUIET_SECONDS = 0.15
"""How long a test listens to be sure that nothing comes."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """One HTTP response; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def answer(self) -> Answer:
        """The answer to a poll; fail when it is none."""
        assert (200, "application/json", "no-store") == (
            self.status, self.headers["content-type"], self.headers["cache-control"],
        )  # fmt: skip
        return read_answer(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        """The problem; fail when it is none."""
        assert "application/problem+json" == self.headers["content-type"]
        problem: dict[str, Any] = json.loads(self.body)
        assert {"type", "title", "status", "detail"} == set(problem)
        assert self.status == problem["status"]
        return problem


class RawConnection:
    """One connection that sends exactly the bytes it is given; `opened` has all, so that a fixture can close them."""

    opened: ClassVar[list["RawConnection"]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.opened.append(self)

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def get(self, target: str, headers: str = "") -> None:
        """Send a GET."""
        await self.send(f"GET {target} HTTP/1.1\r\nHost: test\r\n{headers}\r\n".encode())

    async def read(self, *, has_body: bool = True) -> Response:
        """Return the next response; fail when none comes."""
        async with within(DEADLINE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
            version, status, _ = line.split(" ", 2)
            assert "HTTP/1.1" == version
            headers = {}
            for one in lines:
                name, _, value = one.partition(": ")
                assert name.lower() not in headers, "a header is there twice"
                headers[name.lower()] = value
            length = int(headers.get("content-length", "0")) if has_body else 0
            return Response(status=int(status), headers=headers, body=await self.reader.readexactly(length))

    async def ask(self, target: str, headers: str = "") -> Response:
        """Send a GET and return its response."""
        await self.get(target, headers)
        return await self.read()

    async def is_quiet(self) -> bool:
        """Tell whether nothing comes for a while, not even an end."""
        try:
            async with within(QUIET_SECONDS):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    async def rest(self) -> bytes:
        """Return what comes until the server ends the connection; fail when it does not."""
        async with within(DEADLINE_SECONDS):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    async def close(self) -> None:
        """End the connection."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Around:
    """What surrounds a replica: NATS, and the services that publish and grant.

    Shape: the server belongs to a loop of its own, `background`.
    """

    server: Broker
    background: LoopThread
    clients: dict[User, Client] = field(default_factory=dict)
    numbers: dict[bytes, int] = field(default_factory=dict)
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def config(self, **settings: Any) -> Config:
        """Return the configuration of a replica; a drain takes no time unless a test wants it to."""
        usual: dict[str, Any] = {
            "url": self.server.url, "password": self.server.password("longpoll"), "uid_key": UID_KEY.decode(),
            "http_port": 0, "admin_port": 0, "drain_seconds": 0.1, "drain_linger_seconds": 0.0,
        }  # fmt: skip
        return Config(**(usual | settings))

    async def kill(self) -> None:
        """Kill NATS as a power cut would."""
        await asyncio.wrap_future(self.background.submit(crash(self.server)))

    async def start(self) -> None:
        """Start NATS again."""
        await asyncio.wrap_future(self.background.submit(self.server.start()))

    async def provision(self) -> None:
        """Create the streams that are not there."""
        await asyncio.wrap_future(self.background.submit(self.server.provision()))

    async def client(self, user: User) -> Client:
        """Return a client of `user`, always the same, once it is connected: also again, after an outage."""
        async with self.connecting:
            if user not in self.clients:
                config = broker.BrokerConfig(url=self.server.url, user=user, password=self.server.password(user))
                self.clients[user] = await broker.connect(config)
            client = self.clients[user]
            await until(lambda: client.is_connected)
            return client

    async def publish(self, path: str, message: str | bytes = "") -> int:
        """Store an event as the relay does; return its sequence."""
        js = (await self.client("tasks")).jetstream()
        data = message.encode() if isinstance(message, str) else message
        return (await js.publish(subject_of(path), data, stream=EVENTS_STREAM, headers={"Roots-Time": "1"})).seq

    async def put(self, uid: bytes, raw: bytes, headers: dict[str, Any] | None = None) -> int:
        """Store bytes as the record of `uid`; return their revision."""
        js = (await self.client("subscriptions")).jetstream()
        subject = GRANTS_PREFIX + uid.decode()
        return (await js.publish(subject, raw, stream=GRANTS_STREAM, headers=headers)).seq

    async def connect(self, uid: bytes, *paths: str, gone: Mapping[str, int] | None = None, **others: Any) -> int:
        """Grant exactly `paths`, each from now on; return the number of the change."""
        n = self.numbers[uid] = self.numbers.get(uid, 0) + 1
        await self.put(uid, record(n, {path: await self.grant(n) for path in paths}, gone=gone, **others))
        return n

    async def grant(self, n: int) -> dict[str, Any]:
        """Return a grant of change `n`, from now on."""
        state = await JetStreamReader(await self.client("subscriptions"), EVENTS_STREAM, timeout_seconds=5).state()
        return {**grant(state.last, n), "epoch": state.epoch}

    async def administrate(self, call: str, body: bytes = b"{}") -> Any:
        """Ask JetStream something as the user that creates the streams."""
        client = await self.client("provision")
        return msgspec.json.decode((await client.request(f"$JS.API.{call}", body, timeout=stretched(5))).data)

    async def close(self) -> None:
        """Disconnect."""
        for client in self.clients.values():
            await client.close()


@asynccontextmanager
async def running(config: Config, *, is_ready: bool = True) -> AsyncIterator[Replica]:
    """Run a replica until the end of the block, then drain it."""
    replica = Replica(config)
    stopped = asyncio.Event()
    task = asyncio.create_task(replica.run(stopped))
    try:
        await until(lambda: task.done() or replica.listening.is_set())
        if is_ready:
            await until(lambda: task.done() or replica._server.refusal is None)
        yield replica
    finally:
        stopped.set()
        async with within(DEADLINE_SECONDS):
            await task


def streams_of(replica: Replica) -> Streams:
    """Return what reads from NATS; fail before it is connected."""
    assert replica._streams is not None
    return replica._streams


class Page:
    """A client as a browser is one: it polls with what the last answer gave."""

    def __init__(self, wire: RawConnection, answer: Answer) -> None:
        self.wire = wire
        self.uid = answer.uid
        self.target = "/"
        self._believe(answer)

    @classmethod
    async def begin(cls, replica: Replica) -> Self:
        """Poll for the first time."""
        wire = await RawConnection.open(replica.port)
        return cls(wire, (await wire.ask("/")).answer)

    def _believe(self, answer: Answer) -> None:
        self.target = f"/{answer.uid.decode()}/{render(answer.cursor).decode()}"

    async def hold(self) -> None:
        """Send a poll, and let it wait."""
        await self.wire.get(self.target)

    async def receive(self) -> Answer:
        """Return the answer that comes, and go on from it."""
        answer = (await self.wire.read()).answer
        self._believe(answer)
        return answer

    async def poll(self) -> Answer:
        """Poll and return the answer."""
        await self.hold()
        return await self.receive()

    async def move_to(self, replica: Replica) -> None:
        """Go on at another replica, or at the same on a new connection."""
        await self.wire.close()
        self.wire = await RawConnection.open(replica.port)


async def listening_page(around: Around, replica: Replica, *paths: str) -> Page:
    """Return a client that is connected to `paths` and has received so."""
    page = await Page.begin(replica)
    await around.connect(page.uid, *paths)
    confirmed = await page.poll()
    assert sorted((path, "") for path in paths) == sorted(confirmed.updates)
    return page
