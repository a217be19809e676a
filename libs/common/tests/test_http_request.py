"""Raw requests: what could be read in two ways is refused at once, and none is waited for that is whole."""

import json
import re

import pytest
from tests.testkit.deadlines import clock

from .http_support import connect, read_to_end, serving

CHUNKED = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
# The next request on the same connection ends it, so that all answers can be read.
LAST = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
# Far below the limit for the arrival of a request.
AT_ONCE_SECONDS = 8.0

EXPECT = b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
CHUNK_ERRORS = [
    b"00000000000000002\r\n[]\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFFF\r\n[]\r\n0\r\n\r\n",
    b"10000000000000002\r\n[]\r\n0\r\n\r\n",
    b"00000000000000002",
    b"+2\r\n[]\r\n0\r\n\r\n",
    b"-2\r\n[]\r\n0\r\n\r\n",
    b" 2\r\n[]\r\n0\r\n\r\n",
    b"2 \r\n[]\r\n0\r\n\r\n",
    b"0x2\r\n[]\r\n0\r\n\r\n",
    b"2_0\r\n[]\r\n0\r\n\r\n",
    b"\r\n2\r\n[]\r\n0\r\n\r\n",
    b"2\n[]\r\n0\r\n\r\n",
    b"2\n\r\n[]\r\n0\r\n\r\n",
    b"2\r[]\r\n0\r\n\r\n",
    b"2;\r\n[]\r\n0\r\n\r\n",
    b"2;a=\r\n[]\r\n0\r\n\r\n",
    b"2;a\n\r\n[]\r\n0\r\n\r\n",
    b'2;a="b\r\n[]\r\n0\r\n\r\n',
    b"2;" + b"a" * 5000 + b"\r\n[]\r\n0\r\n\r\n",
    b"2" + b";a=b" * 5000,
    b"2\r\n[]0\r\n\r\n",
    b"2\r\n[]\n0\r\n\r\n",
    b"2\r\n[]X",
    b"g\r\n",
    b";\r\n",
    b"0\r\n\nGET / HTTP/1.1\r\n\r\n",
    b"0\r\nno header\r\n\r\n",
    b"0\r\n folded: x\r\n\r\n",
    b"0\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
]
HEADER_ERRORS = [
    b"Transfer-Encoding:",
    b"Transfer-Encoding: ",
    b"Transfer-Encoding: ,",
    b"transfer-encoding:\t",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding : chunked",
    b"Content-Length: " + b"9" * 5000,
    b"Content-Length: +2",
    b"Content-Length: 2, 2",
    b"Content-Length:",
    b"X: a\r\n b",
]


def statuses(answer: bytes) -> list[bytes]:
    """Return the status of each answer."""
    return re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)


def exchange(request: bytes) -> list[bytes]:
    """Return the statuses of what is answered until the server ends the connection, which it does at once."""
    with serving() as server, connect(server, request) as connection:
        began = clock()
        answer = read_to_end(connection)
        assert clock() - began < AT_ONCE_SECONDS
        return statuses(answer)


@pytest.mark.parametrize("chunks", CHUNK_ERRORS)
def test_chunks_are_refused_at_once_when_two_readers_could_differ(chunks: bytes) -> None:
    """RFC 9112, 7.1: no sign, space, prefix, bare LF, empty line or endless line; what follows is no request."""
    assert [b"400"] == exchange(CHUNKED + chunks)


@pytest.mark.parametrize("header", HEADER_ERRORS)
def test_header_is_refused_when_two_readers_could_differ(header: bytes) -> None:
    """RFC 9112, 6.1: a Transfer-Encoding is chunked, once; a length is a number, once; no line is folded."""
    assert [b"400"] == exchange(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n" + LAST)


@pytest.mark.parametrize("target", [b"http://[/echo", b"http://[::1/echo"])
def test_target_is_refused_when_it_is_no_url(target: bytes) -> None:
    """It is answered, not hung up on."""
    assert [b"400"] == exchange(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")


def test_chunk_is_refused_when_it_is_larger_than_any_body() -> None:
    """The size alone tells; the rest is not waited for."""
    assert [b"413"] == exchange(CHUNKED + b"7FFFFFFFFFFFFFFF\r\n[")


@pytest.mark.parametrize(
    "chunks",
    [
        b"2\r\n[]\r\n0\r\n\r\n",
        b"0002\r\n[]\r\n000\r\n\r\n",
        b'2;a;b=c;d="e\\"f"\r\n[]\r\n0\r\n\r\n',
        b"1\r\n[\r\n1\r\n]\r\n0\r\nX: y\r\n\r\n",
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_chunks_are_read_when_they_are_well_formed(chunks: bytes, piece: int) -> None:
    """In pieces of any size, with extensions and a trailer; the next request begins behind them."""
    request = CHUNKED + chunks + LAST
    with serving() as server, connect(server) as connection:
        for start in range(0, len(request), piece):
            connection.sendall(request[start : start + piece])
        assert [b"200", b"404"] == statuses(read_to_end(connection))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        # There is no body to go on with.
        (EXPECT + b"Content-Length: 0\r\n\r\n", [b"400"]),
        (EXPECT + b"\r\n", [b"400"]),
        (EXPECT + b"Content-Length: 2\r\n\r\n[]", [b"100", b"200"]),
        (EXPECT + b"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n[]", [b"100", b"200"]),
        (EXPECT + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [b"100", b"400"]),
        (EXPECT + b"Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n", [b"100", b"200"]),
        (b"POST /echo HTTP/1.1\r\nExpect:\r\nContent-Length: 2\r\n\r\n[]", [b"200"]),
        # HTTP/1.0 does not know it.
        (b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nExpect: x\r\nContent-Length: 2\r\n\r\n[]", [b"200"]),
    ],
)
def test_request_is_answered_when_it_expects_100_continue(request_: bytes, expected: list[bytes]) -> None:
    """Whole requests are answered at once; a body that is to come is asked for first."""
    assert [*expected, b"404"] == exchange(request_ + LAST)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (EXPECT + b"Content-Length: x\r\n\r\n", [b"400"]),
        (EXPECT + b"Content-Length: 99999999999\r\n\r\n", [b"413"]),
        (EXPECT + b"Transfer-Encoding: gzip\r\n\r\n", [b"501"]),
        (b"POST /echo HTTP/1.1\r\nExpect: x\r\nContent-Length: 2\r\n\r\n", [b"417"]),
        (EXPECT + b"Expect: x\r\nContent-Length: 2\r\n\r\n", [b"417"]),
        (b"GET /nothing HTTP/1.1\r\nExpect: 200-ok\r\n\r\n", [b"417"]),
    ],
)
def test_request_is_refused_without_100_when_its_body_is_not_wanted(request_: bytes, expected: list[bytes]) -> None:
    """RFC 9110, 10.1.1: the refusal is the answer, and is not waited for behind a body."""
    assert expected == exchange(request_ + LAST)


def test_refusal_is_a_problem_when_an_expectation_is_unknown() -> None:
    """417, as every other refusal."""
    with (
        serving() as server,
        connect(server, b"GET / HTTP/1.1\r\nExpect: x\r\n\r\n") as connection,
    ):
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert (417, "Expectation Failed") == (json.loads(body)["status"], json.loads(body)["title"])


def test_body_is_whole_when_it_comes_after_100_continue_behind_another_request() -> None:
    """The answers keep their order."""
    with serving() as server, connect(server, LAST.replace(b"close", b"keep-alive") + EXPECT) as connection:
        connection.sendall(b"Content-Length: 2\r\n\r\n")
        got = b""
        while b"100 Continue" not in got:
            got += connection.recv(4096)
        connection.sendall(b"[]" + LAST)
        assert [b"404", b"100", b"200", b"404"] == statuses(got + read_to_end(connection))
