"""What a page of another origin can read of the gateway's answers."""

import asyncio
import contextlib
import http.client
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched, within

from roots_devstack.processes import ports
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.gateway import Gateway

DEADLINE_SECONDS = 20.0
ORIGIN = "https://app.example"
ORIGINS = f"https://first.example, {ORIGIN}"
FOREIGN = [
    None,
    "https://evil.example",
    f"{ORIGIN}.evil",
    "https://app.exampl",
    "null",
    "",
    ORIGINS,
    "https://first.example,",
]
LARGE = 9 << 20

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


def answering(answer: bytes) -> Serve:
    """Return a replica that gives this answer.

    The answer has to say that its connection ends: the gateway uses one that goes on again, and while that is closed
    the next request has no answer.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return serve


FULL = answering(
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)
ALLOWING = answering(
    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://first.example\r\n"
    b"Vary: Origin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


async def answer(longpoll: Serve, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the replica answer, and return once its connection is closed."""
    await longpoll(reader, writer)
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def gateway(home: Path, longpoll: Serve | None, origins: str | None = ORIGINS) -> AsyncIterator[Gateway]:
    """Yield a ready gateway, with a replica or without, and without any other service."""
    nobody = f"{ports.HOST}:{ports.reserve()}"
    answers: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if longpoll is not None:
            answers.append(asyncio.create_task(answer(longpoll, reader, writer)))

    server = None if longpoll is None else await asyncio.start_server(serve, ports.HOST, 0)
    address = nobody if server is None else f"{ports.HOST}:{server.sockets[0].getsockname()[1]}"
    extra_env = {} if origins is None else {"ROOTS_CORS_ORIGINS": origins}
    gateway = Gateway(
        home,
        port=ports.reserve(),
        tasks=nobody,
        subscriptions=nobody,
        longpolls=[address],
        extra_env=extra_env,
    )
    await gateway.start()
    try:
        await until_ready(gateway, seconds=DEADLINE_SECONDS)
        yield gateway
    finally:
        await gateway.process.crash()
        await asyncio.gather(*answers, return_exceptions=True)
        if server is not None:
            server.close()
            await server.wait_closed()


async def ask(gateway: Gateway, path: str, origin: str | None, body: bytes | None = None) -> http.client.HTTPResponse:
    """Return the head of one answer."""

    def blocking() -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(ports.HOST, gateway.port, timeout=stretched(DEADLINE_SECONDS))
        headers = {} if origin is None else {"Origin": origin}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response

    return await asyncio.to_thread(blocking)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/comet/", None, 503),
        ("/tasks", None, 503),
        ("/tasks/connect/uid", b"[]", 503),
        ("/nowhere", None, 404),
        ("/todos/nowhere", None, 503),
    ],
)
async def test_gateways_own_error_can_be_read_when_the_origin_is_on_the_list(
    tmp_path: Path, path: str, body: bytes | None, status: int
) -> None:
    """A page of another origin sees the status and Retry-After, and not a broken network."""
    async with gateway(tmp_path, None) as running:
        answer = await ask(running, path, ORIGIN, body)
        assert (status, ORIGIN, "Retry-After", "Origin") == (
            answer.status,
            answer.headers["Access-Control-Allow-Origin"],
            answer.headers["Access-Control-Expose-Headers"],
            answer.headers["Vary"],
        )
        assert ("1" if status == 503 else None) == answer.headers["Retry-After"]


async def test_too_large_body_can_be_noticed_when_the_origin_is_on_the_list(tmp_path: Path) -> None:
    """The gateway's limit is an answer like its others."""
    head = f"POST /comet/ HTTP/1.1\r\nHost: localhost\r\nOrigin: {ORIGIN}\r\nContent-Length: {LARGE}\r\n\r\n"
    async with gateway(tmp_path, None) as running:
        reader, writer = await asyncio.open_connection(ports.HOST, running.port)
        # Read as it is sent: the gateway takes no more of it once it has answered.
        writer.write(head.encode() + b"x" * LARGE)
        async with within(DEADLINE_SECONDS):
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        writer.transport.abort()

    assert answer.startswith("http/1.1 413 ")
    assert f"access-control-allow-origin: {ORIGIN}\r\n" in answer


@pytest.mark.parametrize("origin", FOREIGN)
async def test_error_can_not_be_read_when_the_origin_is_not_on_the_list(tmp_path: Path, origin: str | None) -> None:
    """Only a whole origin of the list is repeated."""
    async with gateway(tmp_path, FULL) as running:
        for path in ("/comet/", "/tasks", "/nowhere"):
            assert (await ask(running, path, origin)).headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("origins", [None, "", " ", ","])
async def test_no_origin_is_allowed_when_none_is_listed(tmp_path: Path, origins: str | None) -> None:
    """An empty list has no empty origin in it."""
    async with gateway(tmp_path, FULL, origins) as running:
        for origin in (ORIGIN, "", ","):
            assert (await ask(running, "/comet/", origin)).headers["Access-Control-Allow-Origin"] is None


async def test_replicas_answer_can_be_read_when_it_came_before_its_request_was_read(tmp_path: Path) -> None:
    """A replica that is full refuses a connection before it knows the origin."""
    async with gateway(tmp_path, FULL) as running:
        answer = await ask(running, "/comet/", ORIGIN)
        assert (503, "1", ORIGIN) == (
            answer.status,
            answer.headers["Retry-After"],
            answer.headers["Access-Control-Allow-Origin"],
        )


async def test_replicas_own_headers_stay_when_it_sends_them(tmp_path: Path) -> None:
    """The gateway adds nothing to an answer that says itself who may read it."""
    async with gateway(tmp_path, ALLOWING) as running:
        answer = await ask(running, "/comet/", ORIGIN)
        assert ["https://first.example"] == answer.headers.get_all("Access-Control-Allow-Origin")
        assert ["Origin"] == answer.headers.get_all("Vary")
