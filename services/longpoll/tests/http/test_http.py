"""HTTP/1.1 on the public port: what is asked rightly, what is asked wrongly, and what every answer has to say."""

import asyncio
import socket
import uuid
from typing import Any

import pytest
from tests.testkit.deadlines import until

from roots_longpoll.replica import Replica

from ..net_support import Around, Page, RawConnection, Response, listening_page

ORIGIN = "https://app.example"


@pytest.fixture
def settings() -> dict[str, Any]:
    """Let pages of one other origin poll."""
    return {"cors_origins": f"{ORIGIN}, https://other.example"}


@pytest.fixture
def path() -> str:
    """Return a path of the test's own."""
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
async def wire(replica: Replica) -> RawConnection:
    """Return a connection."""
    return await RawConnection.open(replica.port)


@pytest.mark.parametrize(
    "target",
    ["/", "/undefined", "/?x=1", "/?a/b/c", "http://roots.example/", "https://roots.example", "/undefined?retry"],
)
async def test_first_poll_is_answered_when_its_target_has_another_form(wire: RawConnection, target: str) -> None:
    """A query and an origin are passed over; `/undefined` is what the client of 2009 asks for after an error."""
    response = await wire.ask(target)
    assert [] == response.answer.updates
    assert response.headers["date"].endswith(" GMT")
    assert {"date", "content-type", "cache-control", "content-length"} == set(response.headers)


@pytest.mark.parametrize("form", ["{}?t=1", "http://roots.example{}", "http://roots.example{}?t=1/2"])
async def test_poll_is_held_when_its_target_has_another_form(replica: Replica, form: str) -> None:
    """The uid and the cursor are found all the same."""
    page = await Page.begin(replica)
    page.target = form.format(page.target)
    await page.hold()
    await until(lambda: len(replica._dispatcher.held) == 1)


@pytest.mark.parametrize("target", ["/a/b/c", "/a", "//", "/a/", "//1.2.3", "/favicon.ico", "*", "/%2f/1.2.3/"])
async def test_answer_is_404_when_the_target_is_no_poll(wire: RawConnection, target: str) -> None:
    """The connection stays open."""
    response = await wire.ask(target)
    assert 404 == response.problem["status"]
    assert 200 == (await wire.ask("/")).status


@pytest.mark.parametrize("cursor", ["1", "1.2", "1.2.3.4", "A.2.3", "1.2.zzzzzzzzzzzzz", "%31.2.3", "1.2.-3"])
async def test_answer_is_400_when_the_cursor_is_malformed(replica: Replica, cursor: str) -> None:
    """The uid is valid, so the mistake is the client's; the connection stays open."""
    page = await Page.begin(replica)
    response = await page.wire.ask(f"/{page.uid.decode()}/{cursor}")
    assert 400 == response.problem["status"]
    assert 200 == (await page.wire.ask("/")).status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_answer_is_405_with_allow_when_the_method_is_another(wire: RawConnection, method: str) -> None:
    """What might bring a body is refused before the body comes, and the connection ends."""
    await wire.send(f"{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
    response = await wire.read()
    assert (405, "GET, OPTIONS", "close") == (
        response.problem["status"], response.headers["allow"], response.headers["connection"],
    )  # fmt: skip
    assert b"" == await wire.rest()


async def test_head_has_no_body_when_it_is_refused(wire: RawConnection) -> None:
    """The length is told, the body is not sent."""
    await wire.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    response = await wire.read(has_body=False)
    assert (405, True) == (response.status, int(response.headers["content-length"]) > 0)
    assert b"" == await wire.rest()


async def test_connect_is_refused_when_it_asks_for_a_tunnel(wire: RawConnection) -> None:
    """The service is no proxy."""
    await wire.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert 405 == (await wire.read()).status


@pytest.mark.parametrize(
    "headers", ["Content-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"]
)
async def test_answer_is_413_when_a_poll_has_a_body(wire: RawConnection, headers: str) -> None:
    """A poll has none; the connection ends, so that the body is not read as a request."""
    await wire.send(f"GET / HTTP/1.1\r\nHost: x\r\n{headers}".encode())
    response = await wire.read()
    assert (413, "close") == (response.problem["status"], response.headers["connection"])
    assert b"" == await wire.rest()


@pytest.mark.parametrize(
    "line",
    [
        b"HELLO\r\n\r\n", b"GET\r\n\r\n", b"\x00\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", b"GET /\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nNo colon here\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b" GET / HTTP/1.1\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)  # fmt: skip
async def test_answer_is_400_when_the_request_is_not_http(replica: Replica, wire: RawConnection, line: bytes) -> None:
    """It is told so, the connection ends, and others are served."""
    await wire.send(line)
    response = await wire.read()
    assert (400, "close") == (response.problem["status"], response.headers["connection"])
    assert b"" == await wire.rest()
    assert 200 == (await (await RawConnection.open(replica.port)).ask("/")).status


@pytest.mark.parametrize(
    ("request_head", "is_kept"),
    [
        ("GET / HTTP/1.1\r\n\r\n", True),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", False),
        ("GET / HTTP/1.0\r\n\r\n", False),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
    ],
)
async def test_connection_stays_as_asked_when_it_is_answered(
    wire: RawConnection,
    request_head: str,
    is_kept: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """HTTP/1.1 keeps it unless asked otherwise, HTTP/1.0 never; an end is announced."""
    await wire.send(request_head.encode())
    response = await wire.read()
    assert 200 == response.status
    if is_kept:
        assert 200 == (await wire.ask("/")).status
    else:
        assert "close" == response.headers["connection"]
        assert b"" == await wire.rest()


async def test_held_poll_ends_its_connection_when_the_client_asked_for_it(
    replica: Replica, around: Around, path: str
) -> None:
    """Also after a wait."""
    page = await listening_page(around, replica, path)
    await page.wire.get(page.target, "Connection: close\r\n")
    await around.publish(path, "x")
    response = await page.wire.read()
    assert ([(path, "x")], "close") == (response.answer.updates, response.headers["connection"])
    assert b"" == await page.wire.rest()


async def test_pipelined_first_polls_are_answered_in_order_when_they_come_together(wire: RawConnection) -> None:
    """Each gets a uid of its own."""
    await wire.send(b"GET / HTTP/1.1\r\n\r\n" * 3)
    assert 3 == len({(await wire.read()).answer.uid for _ in range(3)})


async def test_held_poll_ends_with_its_own_cursor_when_another_is_pipelined_behind_it(
    replica: Replica, around: Around, path: str
) -> None:
    """Answers keep the order of requests, and nothing is acknowledged."""
    page = await listening_page(around, replica, path)
    await page.hold()
    await page.hold()
    assert page.target[1:].encode() in (await page.wire.read()).body
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates


async def test_error_behind_a_held_poll_comes_after_its_answer_when_both_are_pipelined(
    replica: Replica, around: Around, path: str
) -> None:
    """No answer is lost or out of order."""
    page = await listening_page(around, replica, path)
    await page.hold()
    await page.wire.send(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
    assert page.target[1:].encode() in (await page.wire.read()).body
    assert 405 == (await page.wire.read()).status
    assert b"" == await page.wire.rest()


async def test_garbage_behind_the_last_request_is_dropped_when_the_poll_is_held(
    replica: Replica, around: Around, path: str
) -> None:
    """After `Connection: close` no other request is read, so no other answer is written."""
    page = await listening_page(around, replica, path)
    await page.wire.get(page.target, "Connection: close\r\n")
    await page.wire.send(b"garbage \x00\x01\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    head, _, body = (await page.wire.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert page.target[1:].encode() in body
    assert b"HTTP/1.1" not in body


async def test_request_is_read_when_it_comes_byte_by_byte(replica: Replica, around: Around, path: str) -> None:
    """Two polls, each byte in a segment of its own."""
    page = await listening_page(around, replica, path)
    sock = page.wire.writer.transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in f"GET {page.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode():
        await page.wire.send(bytes([byte]))
        await asyncio.sleep(0)
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
async def test_connection_goes_on_when_an_upgrade_is_asked_for(wire: RawConnection, upgrade: str) -> None:
    """The offer is passed over, as a server may; curl and Java make it with each first request."""
    request = f"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n".encode()
    await wire.send(request)
    assert 200 == (await wire.read()).status
    assert 200 == (await wire.ask("/")).status
    await wire.send(request + request + b"GET / HTTP/1.1\r\n\r\n")
    assert [200, 200, 200] == [(await wire.read()).status for _ in range(3)]


async def test_poll_is_held_when_it_asks_for_an_upgrade(replica: Replica, around: Around, path: str) -> None:
    """The poll counts, and the one behind it too."""
    page = await listening_page(around, replica, path)
    await page.wire.get(page.target, "Connection: Upgrade\r\nUpgrade: h2c\r\n")
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates
    await page.hold()
    await around.publish(path, "y")
    assert [(path, "y")] == (await page.receive()).updates


async def test_poll_is_forgotten_when_its_client_goes_away(replica: Replica, around: Around, path: str) -> None:
    """I3: what comes meanwhile is told to its next poll."""
    page = await listening_page(around, replica, path)
    await page.hold()
    await until(lambda: len(replica._dispatcher.held) == 1)
    await page.move_to(replica)
    await until(lambda: len(replica._dispatcher.held) == 0)
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.poll()).updates


async def test_first_poll_is_answered_when_the_client_closes_its_half(wire: RawConnection) -> None:
    """As `nc` does; the connection ends after the answer."""
    await wire.get("/")
    wire.writer.write_eof()
    assert 200 == (await wire.read()).status
    assert b"" == await wire.rest()


async def test_held_poll_ends_when_the_client_closes_its_half(replica: Replica, around: Around, path: str) -> None:
    """A half-closed socket is a client that left; nothing is held for it."""
    page = await listening_page(around, replica, path)
    await page.hold()
    await until(lambda: len(replica._dispatcher.held) == 1)
    page.wire.writer.write_eof()
    await until(lambda: len(replica._dispatcher.held) == 0)
    assert b"" == await page.wire.rest()


async def preflight(wire: RawConnection, origin: str) -> Response:
    """Ask whether a page of `origin` may poll."""
    await wire.send(f"OPTIONS /x/y HTTP/1.1\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: GET\r\n\r\n".encode())
    return await wire.read()


async def test_preflight_allows_when_the_origin_is_on_the_list(wire: RawConnection) -> None:
    """For two hours, and the connection stays."""
    response = await preflight(wire, ORIGIN)
    assert (204, ORIGIN, "GET", "7200", "Origin") == (
        response.status,
        response.headers["access-control-allow-origin"], response.headers["access-control-allow-methods"],
        response.headers["access-control-max-age"], response.headers["vary"],
    )  # fmt: skip
    assert ORIGIN == (await wire.ask("/", f"Origin: {ORIGIN}\r\n")).headers["access-control-allow-origin"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil", "", "http://app.example"])
async def test_preflight_is_refused_when_the_origin_is_not_on_the_list(wire: RawConnection, origin: str) -> None:
    """Nothing in the answer lets the page read it."""
    response = await preflight(wire, origin)
    assert (405, "GET, OPTIONS") == (response.problem["status"], response.headers["allow"])
    assert "access-control-allow-origin" not in response.headers
    assert "access-control-allow-origin" not in (await wire.ask("/", f"Origin: {origin}\r\n")).headers


async def test_origin_counts_for_its_own_request_when_a_proxy_sends_many(
    replica: Replica, around: Around, path: str
) -> None:
    """A connection carries requests of several pages; none inherits what another was allowed."""
    page = await listening_page(around, replica, path)
    assert ORIGIN == (await page.wire.ask("/", f"Origin: {ORIGIN}\r\n")).headers["access-control-allow-origin"]
    assert "access-control-allow-origin" not in (await page.wire.ask("/")).headers
    await page.wire.get(page.target, f"Origin: {ORIGIN}\r\n")
    await page.wire.send(b"GET / HTTP/1.1\r\nOrigin: https://evil.example\r\n\r\n")
    first, second = await page.wire.read(), await page.wire.read()
    assert ORIGIN == first.headers["access-control-allow-origin"]
    assert "access-control-allow-origin" not in second.headers


@pytest.mark.parametrize(
    ("status", "head"),
    [
        (404, "GET /a/b/c HTTP/1.1\r\nOrigin: {}\r\n\r\n"),
        (405, "POST / HTTP/1.1\r\nOrigin: {}\r\n\r\n"),
        (413, "GET / HTTP/1.1\r\nOrigin: {}\r\nContent-Length: 1\r\n\r\nx"),
        (431, "GET / HTTP/1.1\r\nOrigin: {}\r\nX: " + "a" * 20_000),
        (400, "GET / HTTP/1.1\r\nOrigin: {}\r\nA: b\r\nno header\r\n\r\n"),
        (408, "GET / HTTP/1.1\r\nOrigin: {}\r\nX: a"),
    ],
)
async def test_every_error_can_be_read_when_the_origin_came_before_it(
    wire: RawConnection, monkeypatch: pytest.MonkeyPatch, status: int, head: str
) -> None:
    """What was read of the request is enough to say who may read its answer."""
    monkeypatch.setattr("roots_longpoll.http.connection.HEADER_SECONDS", 0.3)
    await wire.send(head.format(ORIGIN).encode())
    response = await wire.read()
    assert (status, ORIGIN) == (response.status, response.headers["access-control-allow-origin"])


async def test_error_can_be_read_by_the_page_when_its_origin_is_on_the_list(wire: RawConnection) -> None:
    """A page of another origin learns of a 404 or 503 only with the same headers."""
    response = await wire.ask("/a/b/c", f"Origin: {ORIGIN}\r\n")
    assert (404, ORIGIN) == (response.status, response.headers["access-control-allow-origin"])


async def test_requests_are_counted_by_route_when_they_are_answered(replica: Replica, wire: RawConnection) -> None:
    """I10: by template, never by uid."""
    for target in ("/", "/a/b/c", "/"):
        await wire.ask(target)
    await wire.send(b"POST / HTTP/1.1\r\n\r\n")
    await wire.read()
    assert 2 == replica._stats.answers["/"]
    assert {("GET", "unmatched", 404): 1, ("POST", "unmatched", 405): 1} == replica._stats.requests
