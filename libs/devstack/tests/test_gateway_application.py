"""The gateway with an application of one's own behind it: who gets which path, and what the application receives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.testkit.deadlines import within

from roots_devstack.processes import ports
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.gateway import Gateway

DEADLINE_SECONDS = 30.0
# More than the gateway lets through to a service of Roots.
UPLOAD_BYTES = 9 << 20
# The key and its answer are those of RFC 6455, 1.3.
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


class Backend:
    """Answers each request with its own name and what it received: the first line and the headers."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request; one that upgrades its connection gets an echo from then on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if "upgrade: websocket" in head:
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            )
            while data := await reader.read(100):
                writer.write(data)
        else:
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
            size = len(await reader.readexactly(length))
            body = f"{self.name} got {size}\n{head}".encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nServer: mine\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
        writer.close()


class Questions(asyncio.DatagramProtocol):
    """A name server that answers nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def datagram_received(self, data: bytes, *_sender: object) -> None:
        """Keep a question."""
        self.asked.append(data)


@asynccontextmanager
async def running(home: Path, host: str = ports.HOST, **env: str) -> AsyncIterator[Gateway]:
    """Yield a ready gateway that has an application behind it, at `host`."""
    async with AsyncExitStack() as servers:
        addresses = {}
        for name in ("application", "tasks", "subscriptions", "longpoll"):
            server = await servers.enter_async_context(await asyncio.start_server(Backend(name).serve, ports.HOST, 0))
            addresses[name] = f"{host if name == 'application' else ports.HOST}:{server.sockets[0].getsockname()[1]}"
        gateway = Gateway(
            home,
            port=ports.reserve(),
            tasks=addresses["tasks"],
            subscriptions=addresses["subscriptions"],
            longpolls=[addresses["longpoll"]],
            extra_env={"ROOTS_APP_UPSTREAM": addresses["application"], **env},
        )
        await gateway.start()
        servers.push_async_callback(gateway.process.crash)
        await until_ready(gateway, seconds=DEADLINE_SECONDS)
        yield gateway


async def send(gateway: Gateway, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> str:
    """Return everything that is answered to a request, in lower case."""
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
        "",
        "",
    ]
    async with within(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection(ports.HOST, gateway.port)
        writer.write("\r\n".join(lines).encode() + body)
        answer = (await reader.read()).decode().lower()
        writer.close()
    return answer


@pytest.mark.parametrize(
    ("target", "backend"),
    [
        ("/", "application"),
        ("/todos", "application"),
        ("/tasks", "application"),
        ("/rooms/7?page=2", "application"),
        ("/cometary", "application"),
        ("/tasks/connect/uid", "application"),
        ("/comet", "longpoll"),
        ("/comet/uid/cursor", "longpoll"),
    ],
)
async def test_path_reaches_the_application_when_it_is_not_for_roots(tmp_path: Path, target: str, backend: str) -> None:
    """By default the application decides what a client receives, so it also has its own connect requests."""
    async with running(tmp_path) as gateway:
        answer = await send(gateway, target)
        assert answer.startswith("http/1.1 200 ")
        assert f"\r\n\r\n{backend} got" in answer


async def test_name_server_is_not_asked_when_the_application_is_at_localhost(tmp_path: Path) -> None:
    """A name server may know no localhost: after 30 s the gateway would have no application."""
    loop = asyncio.get_running_loop()
    transport, questions = await loop.create_datagram_endpoint(Questions, local_addr=(ports.HOST, 0))
    server = f"{ports.HOST}:{transport.get_extra_info('sockname')[1]}"
    async with running(tmp_path, "localhost", ROOTS_GATEWAY_NAME_SERVER=server) as gateway:
        assert "application got" in await send(gateway, "/")
    transport.close()
    assert [] == questions.asked


@pytest.mark.parametrize(
    ("target", "backend"),
    [
        ("/chat/connect/uid", "subscriptions"),
        ("/notes/disconnect/uid", "subscriptions"),
        ("/chat/connect/uid/more", "application"),
        ("/chat", "application"),
        ("/chats/connect/uid", "application"),
        ("/cha/connect/uid", "application"),
        ("/chat,/connect/uid", "application"),
        ("/chat,%20notes/connect/uid", "application"),
    ],
)
async def test_connect_request_reaches_subscriptions_when_its_app_is_listed(
    tmp_path: Path, target: str, backend: str
) -> None:
    """An application whose clients have tokens leaves its connect requests to the policy."""
    async with running(tmp_path, ROOTS_CONNECT_APPS="chat, notes") as gateway:
        assert f"\r\n\r\n{backend} got" in await send(gateway, target)


async def test_application_gets_requests_as_they_are_and_the_clients_address(tmp_path: Path) -> None:
    """Its uploads have no bound here, its answers keep their headers, and a client can't choose its own address."""
    async with running(tmp_path) as gateway:
        body = b"x" * UPLOAD_BYTES
        answer = await send(gateway, "/upload", "X-Forwarded-For: 1.2.3.4", method="POST", body=body)
        assert f"application got {UPLOAD_BYTES}" in answer
        assert "x-forwarded-for: 127.0.0.1" in answer
        assert "1.2.3.4" not in answer
        assert "x-forwarded-proto: http" in answer
        assert "server: mine" in answer
        assert "nosniff" not in answer


async def test_websocket_of_the_application_passes(tmp_path: Path) -> None:
    """What is sent after the upgrade comes back."""
    async with running(tmp_path) as gateway, within(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection(ports.HOST, gateway.port)
        writer.write(f"GET /live HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_foreign_host_is_refused_when_an_application_is_behind(tmp_path: Path) -> None:
    """The list of names protects the application too."""
    async with running(tmp_path) as gateway, within(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection(ports.HOST, gateway.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 421 ")
        writer.close()
