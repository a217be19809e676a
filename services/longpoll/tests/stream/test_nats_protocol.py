"""NATS's lines and messages, cut anywhere: the same messages come, and what is none ends the connection."""

import asyncio
import itertools
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.testkit.examples import drawn

from roots.nats.stored import Stored
from roots.nats.streams import NatsUnavailableError
from roots_longpoll.stream import nats_protocol
from roots_longpoll.stream.nats_protocol import MAX_INFO_BYTES, MAX_LINE_BYTES, MAX_MESSAGE_BYTES, NatsProtocol

from ..nats_support import EVENT_TIME, INFO, message, subscriptions
from ..twin_support import FakeTransport


class Line:
    """A connection whose other end is the test. Shape: taken has its messages, said what it has answered."""

    def __init__(self) -> None:
        self.taken: list[Stored] = []
        self.connection = NatsProtocol()
        self.transport = FakeTransport()
        self.connection.connection_made(self.transport)

    @classmethod
    async def open(cls) -> Self:
        """Return one that is subscribed."""
        line = cls()
        subscribing = asyncio.create_task(line.connection.subscribe(subscriptions(line.taken)))
        await asyncio.sleep(0)
        line.receive(b"PONG\r\n")
        await subscribing
        line.transport.written = b""
        return line

    def receive(self, *parts: bytes) -> "Line":
        """Let bytes come, unless the connection has hung up."""
        for part in parts:
            if not self.transport.is_closing():
                self.connection.data_received(part)
        return self

    @property
    def has_hung_up(self) -> bool:
        """Whether the connection ended the connection."""
        return self.transport.is_closing()


PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"\r\n", b"PING\r\n", b"\r\nHMSG live.a.x 1 0 0\r\n\r\n", message(9, b"x"), b"-ERR 'x'\r\n", b"\r\n\r\n"]
    ),
)
MESSAGES = st.builds(
    lambda seq, data, time, to: (
        message(seq, data, *([f"{EVENT_TIME}: {time}"] if time else []), subject=f"live.{to}.x.y", sid=1 + (to == "b")),
        Stored(seq, f"{'$b' if to == 'b' else 'a'}.x.y", {EVENT_TIME: time} if time and to == "a" else {}, data),
    ),
    st.integers(1, 1 << 40),
    PAYLOADS,
    st.sampled_from(["", "1700000000000000000", "x"]),
    st.sampled_from("ab"),
)
OTHERS = st.sampled_from([
    b"PING\r\n", b"PONG\r\n", b"+OK\r\n", INFO, b"MSG live.a.x 1 0\r\n\r\n", b"MSG live.a.x 1 r 6\r\nPING\r\n\r\n",
])  # fmt: skip


@settings(max_examples=drawn(150), deadline=None)
@given(
    said=st.lists(st.one_of(MESSAGES, OTHERS.map(lambda line: (line, None))), max_size=8),
    places=st.lists(st.integers(0, 2000), max_size=12),
)
async def test_messages_are_the_same_when_the_bytes_come_in_any_pieces(
    said: list[tuple[bytes, Stored | None]], places: list[int]
) -> None:
    """Wherever reads end, each message is taken once, in order, whole."""
    data = b"".join(part for part, _ in said)
    cuts = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    line = (await Line.open()).receive(*(data[start:stop] for start, stop in itertools.pairwise(cuts)))
    assert [stored for _, stored in said if stored is not None] == line.taken
    assert b"PONG\r\n" * sum(part == b"PING\r\n" for part, _ in said) == line.transport.written
    assert not line.has_hung_up


@pytest.mark.parametrize("step", [1, 2, 3, 7])
async def test_messages_are_the_same_when_the_bytes_come_a_few_at_a_time(step: int) -> None:
    """A reader of single bytes sees what a reader of all sees."""
    data = INFO + message(1, b"a\r\nb", f"{EVENT_TIME}: 5") + b"PING\r\n" + message(2, b"", subject="live.b.k", sid=2)
    line = (await Line.open()).receive(*(data[at : at + step] for at in range(0, len(data), step)))
    assert [Stored(1, "a.x", {EVENT_TIME: "5"}, b"a\r\nb"), Stored(2, "$b.k", {}, b"")] == line.taken
    assert b"PONG\r\n" == line.transport.written


async def test_large_message_is_taken_when_it_comes_in_many_reads() -> None:
    """64 KiB of anything, which is what an event may have."""
    payload = bytes(range(256)) * 256
    data = message(1, payload) + message(2, payload)
    line = (await Line.open()).receive(*(data[at : at + 4096] for at in range(0, len(data), 4096)))
    assert [(1, payload), (2, payload)] == [(stored.seq, stored.data) for stored in line.taken]


async def test_sequence_is_the_servers_when_a_publisher_sent_one_too() -> None:
    """Nobody can pass an event off as another by a header of its own."""
    line = (await Line.open()).receive(
        message(7, b"x", "Nats-Sequence: 9", "Nats-Last-Sequence: 5", "X: Nats-Sequence: 8")
    )
    assert [7] == [stored.seq for stored in line.taken]


@pytest.mark.parametrize("head", [b"", b"NATS/1.0\r\n\r\n", b"NATS/1.0\r\nNats-Sequence: x\r\n\r\n", b"\r\n"])
async def test_message_is_passed_over_when_it_is_not_of_a_stream(head: bytes) -> None:
    """What somebody published beside JetStream is no event; those after it are."""
    odd = b"HMSG live.a.x 1 %d %d\r\n%bhey\r\n" % (len(head), len(head) + 3, head)
    line = (await Line.open()).receive(odd + b"MSG live.a.x 1 3\r\nhey\r\n" + message(4, b"x"))
    assert ([4], False) == ([stored.seq for stored in line.taken], line.has_hung_up)


@pytest.mark.parametrize(
    "said",
    [
        b"HMSG\r\n", b"HMSG \r\n", b"HMSG live.a.x 1 0\r\n", b"HMSG live.a.x 1 x 3\r\nabc\r\n",
        b"MSG live.a.x 1\r\nabc\r\n",
        b"HMSG live.a.x 1 4 3\r\nabc\r\n", b"HMSG live.a.x 1 -4 3\r\nabc\r\n", b"HMSG live.a.x 1 0 -9\r\n\r\n",
        b"HMSG live.a.x 9 0 3\r\nabc\r\n", b"HMSG live.a.x 1 0 99999999999999999999\r\n",
        b"HMSG live.a.x 1 0 3\r\nabcd\r\n",
        b"HMSG live.a.x 1 0 %d\r\n" % (MAX_MESSAGE_BYTES + 1), b"HMSG live.a.x 1 0 3\r\nabc\n\r",
        b"MSG live.a.x 1 -1\r\n",
        b"-ERR 'Slow Consumer'\r\n", b"\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"ping\r\n", b"PONG \r\n", b"\x00\r\n",
        b"a" * (MAX_LINE_BYTES + 1), b"HMSG " + b"a" * MAX_LINE_BYTES, b"INFO " + b"a" * MAX_INFO_BYTES,
    ],
)  # fmt: skip
async def test_connection_ends_when_the_server_says_what_is_no_line_of_nats(said: bytes) -> None:
    """I9: whoever waits receives why, nothing more is taken, and nothing is kept for ever."""
    line = await Line.open()
    waiting = asyncio.create_task(line.connection.ping())
    await asyncio.sleep(0)
    line.receive(message(1, b"x"), said, message(2, b"y"))
    assert ([1], True) == ([stored.seq for stored in line.taken], line.has_hung_up)
    line.connection.connection_lost(None)
    with pytest.raises(NatsUnavailableError, match="NATS s"):
        await waiting


async def test_connection_ends_when_the_introduction_is_none() -> None:
    """A server that can't say who it is, is none."""
    for said in (b"INFO {\r\n", b"INFO []\r\n", b'INFO {"nonce":5}\r\n', b"INFO \xff\r\n"):
        assert (await Line.open()).receive(said).has_hung_up


@settings(deadline=None)
@given(parts=st.lists(st.binary(max_size=30) | st.sampled_from([b"HMSG ", b"\r\n", b"live.a.x 1 ", b" 1", b"MSG "])))
async def test_wire_hears_on_or_hangs_up_when_given_any_bytes(parts: list[bytes]) -> None:
    """I9: nothing that a server says makes an error elsewhere, or is kept beyond its bound."""
    line = (await Line.open()).receive(*parts)
    assert len(line.connection._rest) <= MAX_MESSAGE_BYTES
    assert line.has_hung_up or len(line.connection._rest) <= sum(map(len, parts))


async def test_nothing_is_taken_when_it_comes_before_the_subscription() -> None:
    """I5: whoever speaks before TLS can't grant anything to anybody."""
    line = Line().receive(INFO + message(1, b"x"))
    assert ([], True) == (line.taken, line.has_hung_up)


async def test_subjects_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: names of subjects are kept so that they need not be made again; a bound of them."""
    monkeypatch.setattr(nats_protocol, "_MAX_SUBJECTS", 10)
    line = await Line.open()
    for number in range(35):
        line.receive(message(number + 1, b"", subject=f"live.a.{number}"))
        assert len(line.connection._takers[b"1"]._subjects) <= 10
    assert [f"a.{number}" for number in range(35)] == [stored.subject for stored in line.taken]
