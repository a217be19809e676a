"""What the gateway keeps from the services: foreign names, half requests, too much of one address."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from tests.testkit.deadlines import stretched, until, within

from roots_devstack.errors import DevstackError
from roots_devstack.processes import ports, probes
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.gateway import Gateway

DEADLINE_SECONDS = 30.0
PROBLEM = "content-type: application/problem+json"
CONNECT = "POST /tasks/connect/uid HTTP/1.1\r\nHost: localhost\r\n"


class Service:
    """Stands for all services: answers each request, or holds it, and notes what reaches it."""

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[str] = []
        self.is_held = False
        self._released = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def close(self) -> None:
        """Release what is held, and end."""
        self._released.set()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
            if self.is_held:
                await self._released.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nServer: one\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            await close(writer)


@asynccontextmanager
async def gateway(home: Path, **env: str) -> AsyncIterator[tuple[Gateway, Service]]:
    """Yield a ready gateway with one service behind it."""
    service = Service()
    server = await asyncio.start_server(service.connected, ports.HOST, 0)
    address = f"{ports.HOST}:{server.sockets[0].getsockname()[1]}"
    gateway = Gateway(
        home, port=ports.reserve(), tasks=address, subscriptions=address, longpolls=[address], extra_env=env
    )
    await gateway.start()
    try:
        await until_ready(gateway, seconds=DEADLINE_SECONDS)
        yield gateway, service
    finally:
        await gateway.process.crash()
        await service.close()
        server.close()
        await server.wait_closed()


async def send(gateway: Gateway, text: str, context: ssl.SSLContext | None = None) -> str:
    """Send a request as it is written, and return everything that is answered, in lower case."""
    async with within(DEADLINE_SECONDS):
        reader, writer = await asyncio.open_connection(ports.HOST, gateway.port, ssl=context)
        try:
            writer.write(text.encode("latin-1"))
            return (await reader.read()).decode("latin-1").lower()
        finally:
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and return once it is closed."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def cancel(tasks: Sequence[asyncio.Task[str]]) -> None:
    """End requests that are not answered yet."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def get(path: str, *headers: str, host: str = "localhost") -> str:
    """Return the text of a request that ends its connection."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "Connection: close", "", ""])


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:4020", "127.0.0.1", "[::1]:9", "a.localhost", "a.b.localhost:1"]
)
async def test_request_is_answered_when_its_host_is_listed(tmp_path: Path, host: str) -> None:
    """By default every name of this machine's loopback, with any port."""
    async with gateway(tmp_path) as (running, _):
        assert (await send(running, get("/tasks", host=host))).startswith("http/1.1 200 ")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil-localhost",
        ".localhost",
        "127.0.0.10",
        "127.0.0.1.evil",
        "localhost,evil",
        ",",
        "a b.localhost",
        "",
    ],
)
async def test_request_is_refused_when_its_host_is_not_listed(tmp_path: Path, host: str) -> None:
    """DNS rebinding: a page of another site that leads its own name here, with itself as the origin."""
    async with gateway(tmp_path) as (running, service):
        answer = await send(running, get("/tasks", f"Origin: http://{host}", host=host))
    assert answer.startswith(("http/1.1 421 ", "http/1.1 400 "))
    assert [] == service.heads


async def test_only_named_hosts_are_answered_when_they_are_set(tmp_path: Path) -> None:
    """Spaces in the list do not count; what is not in it is not there."""
    async with gateway(tmp_path, ROOTS_GATEWAY_HOSTS="App.example, *.apps.example") as (running, _):
        statuses = {
            host: (await send(running, get("/tasks", host=host))).split()[1]
            for host in ("app.example", "a.apps.example", "apps.example", "localhost")
        }
    assert {"app.example": "200", "a.apps.example": "200", "apps.example": "421", "localhost": "421"} == statuses


@pytest.mark.parametrize("request_line", ["GET /tasks HTTP/1.1", "GET /tasks HTTP/1.0"])
async def test_request_is_refused_when_it_names_no_host(tmp_path: Path, request_line: str) -> None:
    """Nobody could say then what it was led by."""
    async with gateway(tmp_path) as (running, service):
        answer = await send(running, f"{request_line}\r\nConnection: close\r\n\r\n")
    assert answer.startswith("http/1.1 400 ")
    assert PROBLEM in answer
    assert [] == service.heads


async def test_half_bodies_reach_no_service_when_they_are_many(tmp_path: Path) -> None:
    """They wait at the gateway, others are answered meanwhile, and after ten seconds they get a 408."""
    async with gateway(tmp_path) as (running, service):
        sent = f"{CONNECT}Content-Length: 9000\r\n\r\n" + "x" * 8000
        halves = [asyncio.create_task(send(running, sent)) for _ in range(200)]
        assert (await send(running, get("/tasks"))).startswith("http/1.1 200 ")
        answers = await asyncio.gather(*halves)
        assert {"408"} == {answer.split()[1] for answer in answers}
        assert PROBLEM in answers[0]
        assert 1 == service.connections


@pytest.mark.parametrize("body", ["", "[]"])
async def test_expectation_is_met_by_the_gateway_when_a_body_is_announced(tmp_path: Path, body: str) -> None:
    """The service sees no `Expect`, also without a body."""
    async with gateway(tmp_path) as (running, service):
        async with within(DEADLINE_SECONDS):
            reader, writer = await asyncio.open_connection(ports.HOST, running.port)
            head = f"{CONNECT}Expect: 100-continue\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode())
            if body:
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
                writer.write(body.encode())
            assert b"HTTP/1.1 200 OK\r\n" in await reader.read()
            await close(writer)
        assert [] == [head for head in service.heads if "expect:" in head]


async def test_large_bodies_leave_room_for_others_when_they_are_slow(tmp_path: Path) -> None:
    """They are passed on as they come, over fifty connections at most."""
    async with gateway(tmp_path) as (running, service):
        sent = f"{CONNECT}Content-Length: 200000\r\n\r\n" + "x" * 100_000
        service.is_held = True
        halves = [asyncio.create_task(send(running, sent)) for _ in range(80)]
        await until(lambda: service.connections >= 50)
        service.is_held = False
        assert (await send(running, get("/tasks"))).startswith("http/1.1 200 ")
        assert 51 == service.connections
        await cancel(halves)


async def test_address_gets_429_when_it_has_too_many_requests_at_once(tmp_path: Path) -> None:
    """Held polls count; the answer says when to come again."""
    async with gateway(tmp_path, ROOTS_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS="5") as (running, service):
        service.is_held = True
        held = [asyncio.create_task(send(running, get("/comet/"))) for _ in range(5)]
        await until(lambda: len(service.heads) == 5)
        answer = await send(running, get("/comet/"))
        assert answer.startswith("http/1.1 429 ")
        assert PROBLEM in answer
        assert "retry-after: 1" in answer
        await cancel(held)


async def test_address_gets_429_when_it_has_too_many_lists_at_once(tmp_path: Path) -> None:
    """I7: who reads a thousand lists slowly holds few connections of a service; other addresses and requests go on.

    A list that has ended counts no more.
    """
    env = {"ROOTS_GATEWAY_MAX_LISTS_PER_ADDRESS": "5", "ROOTS_GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}
    async with gateway(tmp_path, **env) as (running, service):
        service.is_held = True
        held = [asyncio.create_task(send(running, get("/tasks"))) for _ in range(5)]
        await until(lambda: len(service.heads) == 5)
        for path in ("/tasks", "/tasks/", "/tasks?limit=1&after=2"):
            answer = await send(running, get(path))
            assert answer.startswith("http/1.1 429 ")
            assert "retry-after: 1" in answer
        # What is sent ahead is not answered, nor counted against others of the address.
        ahead = get("/tasks").replace("Connection: close\r\n", "") * 20
        assert (await send(running, ahead)).count("http/1.1 ") == 1
        service.is_held = False
        assert (await send(running, get("/tasks", "X-Forwarded-For: 198.51.100.1"))).startswith("http/1.1 200 ")
        assert (await send(running, get("/task/1"))).startswith("http/1.1 200 ")
        create = get("/tasks", "Content-Length: 0").replace("GET", "POST", 1)
        assert (await send(running, create)).startswith("http/1.1 200 ")
        await cancel(held)

        async def is_answered() -> bool:
            return (await send(running, get("/tasks"))).startswith("http/1.1 200 ")

        await until(is_answered)


async def test_address_gets_429_when_it_asks_too_often(tmp_path: Path) -> None:
    """A second later it may ask again."""
    async with gateway(tmp_path, ROOTS_GATEWAY_MAX_REQUESTS_PER_SECOND_PER_ADDRESS="5") as (running, _):
        answers = await asyncio.gather(*(send(running, get("/tasks")) for _ in range(100)))
        assert {"200", "429"} == {answer.split()[1] for answer in answers}

        async def is_answered() -> bool:
            # A refused request counts, too.
            await asyncio.sleep(2)
            return (await send(running, get("/tasks"))).startswith("http/1.1 200 ")

        await until(is_answered)


async def test_address_has_no_limit_when_it_is_off(tmp_path: Path) -> None:
    """0 is no limit."""
    off = {
        "ROOTS_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS": "0",
        "ROOTS_GATEWAY_MAX_REQUESTS_PER_SECOND_PER_ADDRESS": "0",
        "ROOTS_GATEWAY_MAX_LISTS_PER_ADDRESS": "0",
    }
    async with gateway(tmp_path, **off) as (running, _):
        answers = await asyncio.gather(*(send(running, get("/tasks")) for _ in range(100)))
        assert {"200"} == {answer.split()[1] for answer in answers}


@pytest.mark.parametrize(("proxies", "status"), [("192.0.2.1 127.0.0.0/8", "200"), ("192.0.2.1", "429")])
async def test_clients_are_told_apart_by_a_proxy_when_it_is_trusted(tmp_path: Path, proxies: str, status: str) -> None:
    """Only then has each a limit of its own; from anybody else the header is a lie."""
    env = {"ROOTS_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS": "1", "ROOTS_GATEWAY_TRUSTED_PROXIES": proxies}
    async with gateway(tmp_path, **env) as (running, service):
        service.is_held = True
        held = asyncio.create_task(send(running, get("/comet/", "X-Forwarded-For: 203.0.113.1, 198.51.100.1")))
        await until(lambda: len(service.heads) == 1)
        service.is_held = False
        other = await send(running, get("/tasks", "X-Forwarded-For: 198.51.100.1, 198.51.100.2"))
        assert status == other.split()[1]
        await cancel([held])


async def test_header_is_read_when_it_has_no_more_than_32_kilobytes(tmp_path: Path) -> None:
    """As the services allow it; a longer one is a 400."""
    async with gateway(tmp_path) as (running, _):
        assert (await send(running, get("/tasks", "X: " + "x" * 31_000))).startswith("http/1.1 200 ")
        assert (await send(running, get("/tasks", "X: " + "x" * 40_000))).startswith("http/1.1 400 ")


async def test_answer_does_not_name_its_server_when_a_service_does(tmp_path: Path) -> None:
    """And no type is guessed from what it has in it."""
    async with gateway(tmp_path) as (running, _):
        answer = await send(running, get("/tasks"))
    assert "server:" not in answer
    assert "x-content-type-options: nosniff" in answer


@pytest.mark.parametrize("value", ['" bogus', "' bogus", "a\nbogus", "$HOME #", "%[bogus", "\\", "-f /etc/passwd", ","])
async def test_value_configures_nothing_else_when_it_is_hostile(tmp_path: Path, value: str) -> None:
    """What the environment says is a value, whatever characters it has."""
    async with gateway(tmp_path, ROOTS_CORS_ORIGINS=value, ROOTS_GATEWAY_HOSTS=f"localhost,{value}") as (running, _):
        assert (await send(running, get("/tasks", "Origin: bogus"))).startswith("http/1.1 200 ")
        assert (await send(running, get("/tasks", host="bogus"))).startswith("http/1.1 421 ")


async def test_gateway_says_what_is_wrong_when_a_limit_is_no_number(tmp_path: Path) -> None:
    """It does not start with less than was asked for."""
    running = Gateway(
        tmp_path,
        port=ports.reserve(),
        tasks="127.0.0.1:1",
        subscriptions="127.0.0.1:1",
        longpolls=["127.0.0.1:1"],
        extra_env={"ROOTS_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS": "many"},
    )
    await running.start()
    try:
        with pytest.raises(DevstackError, match="'many' is neither a number"):
            await until_ready(running, seconds=stretched(3))
    finally:
        await running.process.crash()


async def test_gateway_speaks_tls_when_it_has_a_certificate(tmp_path: Path) -> None:
    """And both versions of HTTP; a folder with a hostile name has the certificate."""
    authority = trustme.CA()
    certificate = tmp_path / 'a "b" $HOME' / "gateway.pem"
    certificate.parent.mkdir()
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with gateway(tmp_path, ROOTS_GATEWAY_CERTIFICATE=str(certificate)) as (running, _):
        assert (await send(running, get("/tasks"), context)).startswith("http/1.1 200 ")
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection(ports.HOST, running.port, ssl=context)
        assert "h2" == writer.get_extra_info("ssl_object").selected_alpn_protocol()
        await close(writer)


async def test_admin_port_tells_of_the_gateway_when_it_is_asked(tmp_path: Path) -> None:
    """Metrics and readiness there, and not where browsers ask."""
    async with gateway(tmp_path) as (running, _):
        metrics = await probes.get(f"{running.admin_url}/metrics")
        assert metrics is not None
        assert b"haproxy_frontend_http_responses_total" in metrics.body
        for path in ("/metrics", "/readyz"):
            assert (await send(running, get(path))).startswith("http/1.1 404 ")


async def test_poll_goes_to_another_replica_when_one_refuses(tmp_path: Path) -> None:
    """The one that is gone has the fewest polls, and is passed over all the same."""
    service = Service()
    server = await asyncio.start_server(service.connected, ports.HOST, 0)
    address = f"{ports.HOST}:{server.sockets[0].getsockname()[1]}"
    gone = [f"{ports.HOST}:{ports.reserve()}" for _ in range(2)]
    running = Gateway(
        tmp_path,
        port=ports.reserve(),
        tasks=address,
        subscriptions=address,
        longpolls=[gone[0], address, gone[1]],
        extra_env={},
    )
    await running.start()
    try:
        await until_ready(running, seconds=DEADLINE_SECONDS)
        for _ in range(6):
            assert (await send(running, get("/comet/uid/1.2"))).startswith("http/1.1 200 ")
        assert {"get /uid/1.2 http/1.1"} == {head.split("\r\n", 1)[0] for head in service.heads}
    finally:
        await running.process.crash()
        await service.close()
        server.close()
        await server.wait_closed()
