"""Polls that are known again: a connection that uses what was parsed before answers as one that parses each poll."""

import re
from collections.abc import Callable, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.testkit.examples import drawn

from roots_longpoll.http import requests
from roots_longpoll.http.requests import UID_END, UID_START, KnownBytes

from ..request_support import PLAIN, UID_FILLS, actions, filled, poll_of, uid_of
from ..twin_support import ORIGIN, Happening, Side, play_twice


@settings(max_examples=drawn(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(done=actions(), origins=st.sampled_from([(), (ORIGIN,)]))
def test_answers_are_those_of_a_parser_when_polls_are_known_again(
    done: list[Happening], origins: tuple[str, ...]
) -> None:
    """Whatever bytes come, in whatever pieces, what was learned changes no answer, no end and no deadline."""
    play_twice(done, origins=origins)


def knowing_side(*blocks: bytes, origins: Iterable[str] = ()) -> Side:
    """Return a side that has learned `blocks`, and on its second connection the polls of the first client."""
    side = Side(KnownBytes(), origins=origins)
    for block in blocks or (PLAIN,):
        side.feed(side.open(), b"GET / HTTP/1.1\r\n" + block)
    side.feed(side.open(), poll_of(side.uids[0], (blocks or (PLAIN,))[0]))
    return side


def parsed(side: Side, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the reads that go through a parser from now on."""
    read: list[bytes] = []
    feed = requests.RequestReader.feed

    def note(reader: requests.RequestReader, data: bytes) -> None:
        read.append(data)
        feed(reader, data)

    monkeypatch.setattr(requests.RequestReader, "feed", note)
    return read


def test_poll_needs_no_parser_when_its_headers_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests here are of no use unless the quick way is taken: by the first poll, and by those after it."""
    side = knowing_side()
    read = parsed(side, monkeypatch)
    side.feed(side.open(), poll_of(side.uids[1]))
    side.publish("x")
    side.feed(2, poll_of(side.uids[1], seq=1))
    assert ([], 2) == (read, side.bench.stats.shared_answers)
    assert [1] == [poll.seq for poll in side.bench.dispatcher.held.polls]


@pytest.mark.parametrize("fill", [*UID_FILLS, b"A HTTP/1.1\r\n\r\nGET /", b"x/1.2.3 HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_poll_is_parsed_when_other_bytes_are_in_the_place_of_its_uid(
    fill: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but a uid is taken for one, so that none of its bytes can be part of a request line or a header."""
    side = knowing_side()
    read = parsed(side, monkeypatch)
    odd = poll_of(side.uids[0]).replace(side.uids[0], filled(fill))
    assert UID_END == len(odd) - len(poll_of(b"")) + UID_START
    side.feed(side.open(), odd)
    if not filled(fill).isalnum():
        assert odd in read
    assert {side.uids[0]} == {poll.uid for poll in side.bench.dispatcher.held.polls}


def test_request_is_parsed_when_it_is_a_known_one_after_another_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows the uid is known, what is before it is another method: it is refused."""
    side = knowing_side()
    read = parsed(side, monkeypatch)
    for begin in (b"PUT /", b"get /", b"GET  ", b"\r\nGE/", b"OPT /"):
        odd = begin + poll_of(side.uids[0])[UID_START:]
        side.feed(side.open(), odd)
        assert [odd] == read
        assert b"HTTP/1.1 4" == side.connections[-1][1].written[:10]
        read.clear()


@pytest.mark.parametrize("cut", range(1, len(PLAIN)))
def test_poll_waits_for_the_rest_when_its_headers_begin_as_known_ones(cut: int) -> None:
    """A part of what is known is not known; the rest makes it whole."""
    side = knowing_side()
    whole = poll_of(side.uids[1])
    number = side.open()
    side.feed(number, whole[:-cut])
    assert {side.uids[0]} == {poll.uid for poll in side.bench.dispatcher.held.polls}
    side.feed(number, whole[-cut:])
    assert set(side.uids[:2]) == {poll.uid for poll in side.bench.dispatcher.held.polls}


@pytest.mark.parametrize("cut", range(1, len(PLAIN)))
def test_poll_is_parsed_when_its_headers_end_as_known_ones(cut: int) -> None:
    """A block that lacks the beginning of a known one means what it says by itself."""
    done = [("send", 0, b"GET / HTTP/1.1\r\n" + PLAIN), ("send", 1, poll_of(uid_of(0), PLAIN[cut:]))]
    play_twice(done)


@pytest.mark.parametrize("cut", range(1, len(poll_of(uid_of(1)))))
def test_known_poll_is_answered_when_it_comes_in_two_parts(cut: int) -> None:
    """Cut anywhere, it is the same poll, and so is the next one."""
    whole = poll_of(uid_of(1))
    learn = ("send", 0, b"GET / HTTP/1.1\r\n" + PLAIN)
    side = play_twice(
        [learn, ("send", 1, whole[:cut]), ("send", 1, whole[cut:]), ("publish", 0, b"x"), ("send", 1, whole)]
    )
    assert 2 == side.connections[1][1].written.count(b"HTTP/1.1 200 OK")


def test_both_polls_are_answered_when_they_come_in_one_read() -> None:
    """Pipelined, each gets its answer: the first one its own cursor, since the second takes its place."""
    two = poll_of(uid_of(0)) + poll_of(uid_of(1))
    learn = ("send", 0, b"GET / HTTP/1.1\r\n" + PLAIN)
    side = play_twice([learn, ("send", 1, two), ("send", 1, two), ("publish", 0, b"x")])
    assert 4 == side.connections[1][1].written.count(b"HTTP/1.1 200 OK")
    assert {} == side.counts[2]


def test_poll_behind_a_last_one_is_ignored_when_it_is_known() -> None:
    """A connection that is to end after its answer ends with that answer; what is pipelined behind it was not asked."""
    last = b"Connection: close\r\n\r\n"
    learn = ("send", 0, b"GET / HTTP/1.1\r\n" + PLAIN)
    side = play_twice(
        [learn, ("send", 1, poll_of(uid_of(0), last)), ("send", 1, poll_of(uid_of(0))), ("publish", 0, b"x")]
    )
    ((transport, ends, *_),) = side.seen[1:2]
    assert (("close",), 1) == (ends, transport.count(b'"message":"x"'))


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 60\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
        b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n", b"Transfer-Encoding:\x0bchunked\r\n\r\n", b"Connection: close\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n", b"Host: x\r\n\r\nGET /smuggled HTTP/1.1\r\n",
        b"Host: x\r\n", b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b"Host: x\r\n\r\nG",
        b"\r\nHost: x\r\n\r\n",
    ],
)  # fmt: skip
def test_nothing_is_learned_when_the_read_is_not_one_whole_request(smuggled: bytes) -> None:
    """Headers that promise a body, end the connection or lead on to another request are parsed each time."""
    side = Side(KnownBytes())
    side.feed(side.open(), b"GET / HTTP/1.1\r\n" + smuggled)
    assert {} == side.server.known._origins
    assert side.server.known.parse(poll_of(uid_of(0), smuggled)) is None
    for learned in (smuggled, PLAIN):
        done = [("send", 0, b"GET / HTTP/1.1\r\n" + learned), ("send", 1, poll_of(uid_of(0), smuggled))]
        play_twice([*done, ("send", 1, poll_of(uid_of(1))), ("publish", 0, b"x"), ("send", 1, poll_of(uid_of(0)))])


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1\r", b"HTTP/1.1 "])
def test_poll_is_parsed_when_it_has_another_version(version: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a connection depends on it."""
    side = knowing_side()
    read = parsed(side, monkeypatch)
    odd = poll_of(side.uids[1]).replace(b"HTTP/1.1", version)
    side.feed(side.open(), odd)
    assert [odd] == read


def test_origin_is_the_one_of_the_poll_when_several_blocks_are_known() -> None:
    """A page reads an answer only where its own origin is allowed, whoever polled before."""
    blocks = [b"Origin: %b\r\n\r\n" % ORIGIN.encode(), b"Origin: https://evil.example\r\n\r\n", PLAIN]
    side = knowing_side(*blocks, origins=[ORIGIN])
    for block, is_allowed in zip(blocks * 2, (True, False, False) * 2, strict=True):
        number = side.open()
        side.feed(number, poll_of(side.uids[1], block))
        side.publish("x")
        assert is_allowed == (b"Access-Control-Allow-Origin" in side.connections[number][1].written)
        assert ORIGIN.encode() in side.connections[number][1].written or not is_allowed


@pytest.mark.parametrize("refused", [True, False])
def test_known_poll_is_refused_when_polls_are(refused: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """I5: without a fresh view of NATS what is known by its bytes gets 503 like all else."""
    side = knowing_side()
    side.server.note_view_age(1e9 if refused else 0.0)
    number = side.open()
    side.feed(number, poll_of(side.uids[1]))
    assert (b"HTTP/1.1 503 Service Unavailable" if refused else b"") == side.connections[number][1].written[:32]


def fill_up(known: KnownBytes, send: Callable[[int], object], count: int) -> None:
    """Send so many different ones; fail when more are kept than may be."""
    for number in range(count):
        send(number)
        assert max(len(known._origins), len(known._tails)) <= requests._MAX_KNOWN


def test_few_headers_are_kept_when_each_client_has_its_own() -> None:
    """I7: a client that sends other headers each time fills nothing, and others are known again soon."""
    side = knowing_side()
    number = side.open()

    def send(count: int) -> None:
        side.feed(number, b"GET / HTTP/1.1\r\nX: %d\r\n\r\n" % count)

    fill_up(side.server.known, send, requests._MAX_KNOWN * 2 + 10)
    side.feed(0, b"GET / HTTP/1.1\r\n" + PLAIN)
    assert side.server.known.parse(poll_of(side.uids[0])) is not None


def test_few_cursors_are_kept_when_each_poll_has_another() -> None:
    """I7: cursors that nobody was told of fill nothing."""
    side = knowing_side()
    number = side.open()
    fill_up(
        side.server.known,
        lambda count: side.feed(number, poll_of(side.uids[1], seq=count + 10)),
        requests._MAX_KNOWN * 2 + 10,
    )


@pytest.mark.parametrize("size", [requests._MAX_KNOWN_BYTES, requests._MAX_KNOWN_BYTES + 1])
def test_headers_are_learned_when_they_are_short(size: int) -> None:
    """I7: what is kept of each is bounded too."""
    side = Side(KnownBytes())
    block = b"X: %b\r\n\r\n" % (b"a" * (size - 7))
    side.feed(side.open(), b"GET / HTTP/1.1\r\n" + block)
    assert (size <= requests._MAX_KNOWN_BYTES) == (block in side.server.known._origins)


@given(tail=st.binary(max_size=80), head=st.binary(max_size=60))
def test_parse_gives_what_the_bytes_say_or_nothing_when_given_any(tail: bytes, head: bytes) -> None:
    """No bytes have a third outcome, and none is taken for a cursor over 64 bits."""
    known = KnownBytes()
    known._origins[PLAIN] = b""
    for data in (head + tail, poll_of(uid_of(0))[: UID_END + 1] + tail, b"GET /" + head + b" HTTP/1.1\r\n" + PLAIN):
        found = known.parse(data)
        if found is not None:
            uid, (_, cursor) = found
            assert re.fullmatch(rb"[A-Za-z0-9_-]{43}", uid)
            assert max(cursor) < 1 << 64
            assert data.endswith(PLAIN)
