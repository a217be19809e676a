"""waitress as the services run it: problems for every refusal, and a drain that answers what it has accepted."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.testkit.deadlines import clock, stretched

from roots.http import web
from roots.http.health import Check, Health, create_admin_server, create_registry
from roots.http.server import HttpServer

from .http_support import Slow

REQUESTS = 20
# Of four threads, how many read at most.
READING = 2


@pytest.fixture
def slow() -> Slow:
    """Return the resource."""
    return Slow()


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return the metrics of the server under test."""
    return create_registry()


@pytest.fixture
def server(slow: Slow, registry: CollectorRegistry) -> Iterator[HttpServer]:
    """Yield a running server."""
    app = web.create_app(middleware=[web.HttpMetrics("example", registry)])
    app.add_route("/slow/{uid}", slow)
    server = HttpServer(app, host="127.0.0.1", port=0, threads=4)
    server.start()
    yield server
    slow.released.set()
    server.close()


def ask(server: HttpServer, method: str, target: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=stretched(20))
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def send(server: HttpServer, request: bytes) -> bytes:
    """Return all that is answered to bytes until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=stretched(5)) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def drip(connection: socket.socket) -> None:
    """Send a byte now and then for 20 s. Errors: ConnectionError when the server ends the connection."""
    deadline = clock() + 20
    while clock() < deadline:
        connection.sendall(b" ")
        threading.Event().wait(0.05)


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "field"),
    [
        ("GET", "/nothing", None, 404, None),
        ("DELETE", "/slow/1", None, 405, None),
        ("POST", "/slow/1", b"{", 400, "body"),
        ("POST", "/slow/1", b"[" * 100_000, 400, "body"),
        ("POST", "/slow/1", b"\xff", 400, "body"),
        ("POST", "/slow/1", b'["a"]', 422, "[0]"),
        ("POST", "/slow/1", b"1" * (web.MAX_BODY_BYTES + 1), 413, "body"),
    ],
)
def test_refusal_is_a_problem_when_request_is_bad(
    server: HttpServer, method: str, target: str, body: bytes | None, status: int, field: str | None
) -> None:
    """RFC 9457 for every refusal, with the field named where one is at fault."""
    answer, headers, text = ask(server, method, target, body)

    problem = json.loads(text)
    assert (status, "application/problem+json") == (answer, headers["content-type"])
    assert (status, field) == (problem["status"], problem.get("field"))


def test_refusal_is_a_problem_when_it_is_waitress_that_refuses(server: HttpServer) -> None:
    """What never reaches the application is refused in the same form."""
    head, _, body = send(server, b"NONSENSE\r\n\r\n").partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert json.loads(body)["status"] == 400


@pytest.mark.parametrize(
    "header",
    [
        "HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0",
        "HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked",
        "HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5",
    ],
)
def test_request_is_refused_when_two_readers_could_see_its_end_elsewhere(server: HttpServer, header: str) -> None:
    """RFC 9112: what a proxy in front takes for the body is no second request here; the connection ends."""
    request = f"POST /slow/1 {header}\r\n\r\n0\r\n\r\nPOST /slow/2 HTTP/1.1\r\nContent-Length: 2\r\n\r\n[]"
    answer = send(server, request.encode())
    assert [b"400"] == [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/")]


def test_connection_ends_when_a_request_takes_too_long_to_arrive(
    slow: Slow, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: bytes that drip keep no place for ever; a request that is whole is answered, however long that takes."""
    monkeypatch.setattr("roots.http.listener.ARRIVAL_SECONDS", 0.5)
    with (
        ThreadPoolExecutor(1) as pool,
        socket.create_connection(("127.0.0.1", server.port), timeout=stretched(10)) as connection,
    ):
        whole = pool.submit(ask, server, "GET", "/slow/1")
        assert slow.started.acquire(timeout=stretched(5))
        connection.sendall(b"POST /slow/1 HTTP/1.1\r\nContent-Length: 100000\r\n\r\n[")
        with pytest.raises(ConnectionError):
            drip(connection)
        slow.released.set()
        assert 200 == whole.result()[0]


def test_metrics_have_route_templates_when_paths_hold_uids(server: HttpServer, registry: CollectorRegistry) -> None:
    """I10: a uid in a path is in no label."""
    ask(server, "POST", "/slow/secret-uid", b"[1]")
    ask(server, "GET", "/unknown/secret-uid")

    text = generate_latest(registry).decode()
    assert 'roots_example_http_requests_total{method="POST",route="/slow/{uid}",status="200"} 1.0' in text
    assert 'route="unmatched",status="404"' in text
    assert "secret-uid" not in text


def test_drain_answers_every_accepted_request_when_threads_are_busy(server: HttpServer, slow: Slow) -> None:
    """What runs and what waits for a thread is answered in full; the connection ends with its answer."""
    with ThreadPoolExecutor(REQUESTS + 1) as pool:
        answers = [pool.submit(ask, server, "GET", f"/slow/{number}") for number in range(REQUESTS)]
        for _ in range(READING):
            assert slow.started.acquire(timeout=stretched(5))
        while server.queue_depth < REQUESTS - READING:
            threading.Event().wait(0.01)
        drained = pool.submit(server.drain, linger_seconds=0.0, deadline_seconds=10.0)
        slow.released.set()

        assert {(200, "close")} == {(answer.result()[0], answer.result()[1]["connection"]) for answer in answers}
        assert drained.result() is True
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_drain_gives_up_when_a_request_outlasts_its_deadline(server: HttpServer, slow: Slow) -> None:
    """The process ends in time, and says that something was left."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, server, "GET", "/slow/1")
        assert slow.started.acquire(timeout=stretched(5))

        assert server.drain(linger_seconds=0.0, deadline_seconds=0.2) is False
        slow.released.set()
        with pytest.raises((http.client.HTTPException, OSError)):
            answer.result()


def test_drain_ends_idle_connections_when_they_are_kept_alive(server: HttpServer) -> None:
    """A kept-alive connection that asks nothing does not hold the process up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=stretched(5))
    connection.request("POST", "/slow/1", b"[]")
    connection.getresponse().read()
    started = clock()

    assert server.drain(linger_seconds=0.0, deadline_seconds=10.0) is True
    assert clock() - started < 5
    connection.close()


def test_admin_tells_live_ready_and_metrics_when_asked() -> None:
    """Readiness names each check; draining makes it unready; liveness knows no dependency."""
    health = Health()
    is_connected = False
    health.add("broker", lambda: Check(is_ok=is_connected, detail="waiting for NATS"))
    admin = create_admin_server(health, create_registry(), host="127.0.0.1", port=0)
    admin.start()
    try:
        assert ask(admin, "GET", "/livez")[0] == 200
        status, _, body = ask(admin, "GET", "/readyz")
        assert (status, json.loads(body)["checks"]) == (503, {"broker": {"ok": False, "detail": "waiting for NATS"}})
        is_connected = True
        assert ask(admin, "GET", "/readyz")[0] == 200
        health.drain()
        assert ask(admin, "GET", "/readyz")[0] == 503
        assert b"process_cpu_seconds_total" in ask(admin, "GET", "/metrics")[2]
    finally:
        admin.close()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_admin_answers_head_as_get_when_asked(registry: CollectorRegistry, path: str) -> None:
    """A load balancer may probe by HEAD: same status and headers, no body, and no connection that is out of step."""
    admin = create_admin_server(Health(), registry, host="127.0.0.1", port=0)
    admin.start()
    connection = http.client.HTTPConnection("127.0.0.1", admin.port, timeout=stretched(20))
    try:
        heads = []
        for method in ("GET", "HEAD", "GET"):
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            heads.append((answer.status, answer.headers["Content-Type"], bool(body)))
            assert int(answer.headers["Content-Length"]) > 0
        assert (heads[0][:2], False) == (heads[1][:2], heads[1][2])
        assert heads[0] == heads[2]
    finally:
        connection.close()
        admin.close()


def test_head_shows_an_unready_process_when_a_check_fails(registry: CollectorRegistry) -> None:
    """The status is the answer."""
    health = Health()
    health.add("broker", lambda: Check(is_ok=False, detail="waits for NATS"))
    admin = create_admin_server(health, registry, host="127.0.0.1", port=0)
    admin.start()
    try:
        status, _, body = ask(admin, "HEAD", "/readyz")
        assert (503, b"") == (status, body)
    finally:
        admin.close()


def test_scrape_is_not_noted_when_the_metrics_are_asked_for_by_head(registry: CollectorRegistry) -> None:
    """A process that ends waits for somebody who has read its figures."""
    noted: list[str] = []
    health = Health()
    health.note_scrape = lambda: noted.append("scrape")  # type: ignore[method-assign]
    admin = create_admin_server(health, registry, host="127.0.0.1", port=0)
    admin.start()
    try:
        ask(admin, "HEAD", "/metrics")
        assert [] == noted
        ask(admin, "GET", "/metrics")
        assert ["scrape"] == noted
    finally:
        admin.close()


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("PUT", 405)])
def test_allow_has_head_when_a_resource_has_get(server: HttpServer, method: str, status: int) -> None:
    """What may be asked is named where it is asked for, and where something else was."""
    got, headers, _ = ask(server, method, "/slow/1")
    assert status == got
    assert {"GET", "HEAD", "POST"} == set(headers["allow"].split(", ")) - {"OPTIONS"}
