"""Connections that ask nothing cost their senders only: honest ones find a place, a thread and memory."""

import http.client
import resource
import select
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import falcon
import pytest
from tests.testkit.deadlines import clock, stretched, wait_until

from roots.http.health import Health, create_admin_server, create_registry, room_check
from roots.http.server import HttpServer

from .http_support import Large, Slow, connect, post, read_to_end, serving

PLACES = 20
PIPELINING = 300
AT_ONCE_SECONDS = 8.0

HALF_BODY = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n[" + b" " * 4000
HALF_HEADER = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
EXPECT = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\nExpect: 100-continue\r\n\r\n"
NOWHERE = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
UNREAD = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def allocations() -> Iterator[Callable[[], int]]:
    """Yield a function that returns how many bytes have been allocated since, and are not free again.

    What the process has resident says less: the C library keeps what was freed, in each thread's own way.
    """
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("begin", [b"", b"\r\n", HALF_HEADER, HALF_BODY, EXPECT, UNREAD, UNREAD * 50])
def test_honest_are_served_at_once_when_all_places_are_taken(begin: bytes) -> None:
    """I7: idle, half sent, promised or unread: whoever has gone longest without a whole request gives way."""
    with serving(max_connections=PLACES, max_held_bytes=1 << 30) as server, ExitStack() as open_:
        for _ in range(3 * PLACES):
            open_.enter_context(connect(server, begin))
        began = clock()
        assert [200] * 5 == [post(server) for _ in range(5)]
        assert clock() - began < AT_ONCE_SECONDS
        assert server.full_seconds == 0


def test_connection_stays_when_it_has_just_begun_and_others_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: a client that has connected and sends a moment later is not ended for answers that nobody reads."""
    monkeypatch.setattr("roots.http.listener.FRESH_SECONDS", stretched(20))
    with serving(max_connections=PLACES, max_held_bytes=1 << 30) as server, ExitStack() as open_:
        unread = [open_.enter_context(connect(server, UNREAD)) for _ in range(PLACES - 1)]
        for connection in unread:
            connection.recv(12)
        honest = open_.enter_context(connect(server))
        # For each that comes and is answered, one has given way.
        asking = [open_.enter_context(connect(server, NOWHERE)) for _ in range(PLACES // 2)]
        assert [b"HTTP/1.1 404"] * len(asking) == [connection.recv(12) for connection in asking]
        honest.sendall(NOWHERE)
        assert b"HTTP/1.1 404" == honest.recv(12)


def test_error_names_the_address_when_another_process_has_it() -> None:
    """The operator sees which of the ports it is."""
    with serving() as server, pytest.raises(OSError, match=rf"can't listen on 127\.0\.0\.1 port {server.port}: "):
        create_admin_server(Health(), create_registry(), host="127.0.0.1", port=server.port)


def test_late_request_gets_408_when_its_place_is_needed() -> None:
    """A client that can read is told, as a problem."""
    with serving(max_connections=PLACES) as server, connect(server, HALF_BODY) as first, ExitStack() as open_:
        for _ in range(2 * PLACES):
            open_.enter_context(connect(server, HALF_BODY))
        answer = read_to_end(first)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in answer


def test_connections_that_ask_stay_when_places_are_needed() -> None:
    """A keep-alive connection in use outlives hundreds that ask nothing."""
    with serving(max_connections=PLACES) as server, ExitStack() as open_:
        honest = http.client.HTTPConnection("127.0.0.1", server.port, timeout=stretched(20))
        honest.connect()
        own = honest.sock
        halves = []
        for number in range(10 * PLACES):
            halves.append(open_.enter_context(connect(server, HALF_HEADER)))
            if number >= PLACES:
                # It has given way once the server has accepted those after it.
                read_to_end(halves[number - PLACES])
            if number % (PLACES // 4) == 0:
                honest.request("POST", "/echo", b"[1]")
                answer = honest.getresponse()
                assert (200, b'{"items":1}') == (answer.status, answer.read())
        assert honest.sock is own
        honest.close()


class SlowWrite(Slow):
    """A slow resource that changes something."""

    def on_put(self, req: falcon.Request, resp: falcon.Response, **params: str) -> None:
        """Answer when released."""
        self.on_get(req, resp, **params)


def test_server_is_unready_when_every_connection_has_a_request_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: it ends none of them, says why it accepts nobody, and accepts again afterwards."""
    monkeypatch.setattr("roots.http.health.MAX_FULL_SECONDS", 0.2)
    slow = SlowWrite()
    with serving(slow=slow, max_connections=PLACES) as server, ExitStack() as open_:
        check = room_check(server)
        assert check().is_ok
        asking = []
        # The last one is ended when its request comes later than the look for a free place.
        while not server.full_seconds:
            asking.append(open_.enter_context(connect(server, b"PUT /echo HTTP/1.1\r\nConnection: close\r\n\r\n")))
        wait_until(lambda: not check().is_ok)
        assert "every connection has had a request at work" in check().detail
        slow.released.set()
        answers = [read_to_end(connection)[:12] for connection in asking]
        assert PLACES <= answers.count(b"HTTP/1.1 200")
        wait_until(lambda: check().is_ok)
        assert 200 == post(server)


def test_thread_is_free_when_a_client_pipelines_and_never_reads() -> None:
    """The next answer is not begun before the last is read; as many such clients as threads stop nobody."""
    with serving(max_held_bytes=1 << 30) as server, ExitStack() as open_:
        for _ in range(8):
            open_.enter_context(connect(server, UNREAD * 100))
        assert 200 == post(server)


def test_pipelined_answers_come_in_order_when_they_are_read_slowly() -> None:
    """Waiting for the reader loses nothing."""
    with serving(max_held_bytes=1 << 30) as server, connect(server, UNREAD * 3) as connection:
        connection.sendall(b"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = read_to_end(connection)
        assert 3 * Large.BYTES < len(answer)
        assert 3 == answer.count(b"HTTP/1.1 200 ")
        assert answer.rfind(b"HTTP/1.1 404 ") > answer.rfind(b"HTTP/1.1 200 ")


def test_answer_that_nobody_reads_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a byte of it is read now and then."""
    monkeypatch.setattr("roots.http.listener.UNREAD_SECONDS", 0.5)
    with serving(max_held_bytes=1 << 30) as server, connect(server, UNREAD) as connection:
        ended = select.poll()
        ended.register(connection, select.POLLHUP)
        wait_until(lambda: connection.recv(1) and ended.poll(0))
        assert len(read_to_end(connection)) < Large.BYTES


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(UNREAD, id="unread"),
        pytest.param(b"POST /echo HTTP/1.1\r\nContent-Length: 8000000\r\n\r\n" + b" " * 7_900_000, id="half sent"),
    ],
)
def test_memory_stays_bounded_when_requests_and_answers_pile_up(begin: bytes) -> None:
    """I7: forty times 8 MB are not held at once, and small requests are served meanwhile."""
    with (
        serving(max_held_bytes=32 << 20, max_body_bytes=8 << 20) as server,
        ExitStack() as open_,
        allocations() as allocated,
    ):
        for _ in range(40):
            connection = open_.enter_context(connect(server))
            # Its reading may pause for good.
            connection.setblocking(False)
            _send_some(connection, begin)
        for _ in range(20):
            assert 200 == post(server)
        assert allocated() < 160 << 20


def test_memory_stays_bounded_when_small_requests_are_pipelined_by_the_hundred() -> None:
    """I7: what is behind a request is kept as its bytes, and read when that is answered."""
    slow = Slow()
    with serving(slow) as server, ExitStack() as open_, allocations() as allocated:
        for _ in range(PIPELINING):
            open_.enter_context(connect(server, b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n" * 250))
        wait_until(lambda: server.queue_depth >= PIPELINING - 4)
        assert allocated() < 16 << 20
        slow.released.set()


def test_memory_is_free_when_large_answers_were_read_and_their_connections_stay() -> None:
    """I7: a connection that is kept alive keeps nothing of the last answer."""
    with serving(max_held_bytes=32 << 20) as server, ExitStack() as open_, allocations() as allocated:
        for _ in range(20):
            connection = open_.enter_context(connect(server, UNREAD))
            left = Large.BYTES
            while left > 0:
                left -= len(connection.recv(1 << 20))
        wait_until(lambda: allocated() < 64 << 20)


def _send_some(connection: socket.socket, data: bytes) -> None:
    try:
        while data:
            data = data[connection.send(data) :]
    except OSError:
        return


def test_large_body_is_read_when_memory_was_short_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waited goes on once those that drip were ended."""
    monkeypatch.setattr("roots.http.listener._PRESSED_ARRIVAL_SECONDS", 0.3)
    with serving(max_held_bytes=2 << 20, max_body_bytes=1 << 20) as server, ExitStack() as open_:
        half = b"POST /echo HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b" " * 900_000
        for _ in range(4):
            connection = open_.enter_context(connect(server))
            connection.setblocking(False)
            _send_some(connection, half)
        whole = http.client.HTTPConnection("127.0.0.1", server.port, timeout=stretched(20))
        whole.request("POST", "/echo", b"[" + b" " * 900_000 + b"1]")
        assert 200 == whole.getresponse().status
        whole.close()


def test_body_is_read_and_answered_when_there_is_no_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is spooled: a read-only container without /tmp takes and gives what is promised."""
    monkeypatch.setattr("tempfile.TemporaryFile", lambda *_: pytest.fail("spools to a file"))
    with serving(max_body_bytes=8 << 20) as server:
        body = b"[1" + b" " * ((8 << 20) - 3) + b"]"
        for chunked in (False, True):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=stretched(20))
            connection.request("POST", "/echo", iter([body]) if chunked else body, encode_chunked=chunked)
            # Its resource takes 1 MiB, which is asked after the body was read.
            assert 413 == connection.getresponse().status
            connection.close()
        with connect(server, UNREAD) as reader:
            reader.sendall(b"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert Large.BYTES < len(read_to_end(reader))


def test_probes_are_answered_when_an_admin_port_has_a_thousand_idle_connections() -> None:
    """I7: 1,100 connections that ask nothing, and /readyz, /livez and /metrics at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    admin: HttpServer = create_admin_server(Health(), create_registry(), host="127.0.0.1", port=0)
    admin.start()
    try:
        with ExitStack() as open_:
            for number in range(1100):
                open_.enter_context(connect(admin, b"" if number % 2 else b"GET /readyz HTTP/1.1\r\n"))
            began = clock()
            for path in ("/readyz", "/livez", "/metrics"):
                connection = http.client.HTTPConnection("127.0.0.1", admin.port, timeout=stretched(20))
                connection.request("GET", path)
                assert 200 == connection.getresponse().status
                connection.close()
            assert clock() - began < AT_ONCE_SECONDS
    finally:
        admin.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
