"""Reads of a stream: NATS and the fake that stands for it give the same answers."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest

from roots.contracts.subjects import EVENTS_PREFIX, EVENTS_STREAM, subject_of
from roots.nats.reader import JetStreamReader
from roots.nats.stored import TIME_HEADER, Batch
from roots.nats.streams import NatsUnavailableError, StreamState

from ..net_support import Around
from ..stream_support import FakeStream


class Reader(Protocol):
    """What followers and replays read with."""

    async def state(self) -> StreamState:
        """Return the stream's extent."""

    async def batch(self, *, seq: int, subject: str, limit: int) -> Batch:
        """Return messages of `subject` from `seq` on."""

    async def next_seq(self, seq: int, subject: str = ">") -> int | None:
        """Return the first sequence of `subject` from `seq` on."""

    async def time_of(self, seq: int) -> str | None:
        """Return when the message `seq` was stored."""


class Stream(Protocol):
    """A stream, and what reads it."""

    reader: Reader
    everything: str

    def subject(self, path: str) -> str:
        """Return the subject of `path`."""

    async def store(self, *paths: str) -> None:
        """Store a message on each of `paths`."""

    async def purge(self, keep: int) -> None:
        """Forget all but the last messages."""

    async def create_again(self) -> None:
        """Delete the stream and create it."""

    def away(self) -> AbstractAsyncContextManager[None]:
        """Let nobody answer during the block."""


class InMemory:
    """The fake."""

    everything = "s.>"

    def __init__(self) -> None:
        self._stream = FakeStream()
        self.reader: Reader = self._stream

    def subject(self, path: str) -> str:
        """Return the subject of `path`."""
        return f"s.{path}"

    async def store(self, *paths: str) -> None:
        """Store a message on each of `paths`."""
        for path in paths:
            self._stream.store(1, self.subject(path))

    async def purge(self, keep: int) -> None:
        """Forget all but the last messages."""
        self._stream.purge(keep)

    async def create_again(self) -> None:
        """Begin again."""
        self._stream.create_again()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Refuse each read during the block."""
        self._stream.is_away = True
        yield
        self._stream.is_away = False


class InNats:
    """The real stream of events."""

    everything = f"{EVENTS_PREFIX}>"

    def __init__(self, around: Around, reader: JetStreamReader) -> None:
        self._around = around
        self.reader: Reader = reader

    def subject(self, path: str) -> str:
        """Return the subject of `path`."""
        return subject_of(path)

    async def store(self, *paths: str) -> None:
        """Store a message on each of `paths`."""
        for path in paths:
            await self._around.publish(path)

    async def purge(self, keep: int) -> None:
        """Forget all but the last messages."""
        await self._around.administrate(f"STREAM.PURGE.{EVENTS_STREAM}", b'{"keep":%d}' % keep)

    async def create_again(self) -> None:
        """Delete the stream and create it."""
        await self._around.administrate(f"STREAM.DELETE.{EVENTS_STREAM}")
        await self._around.provision()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Kill the server, and start it after the block."""
        await self._around.kill()
        yield
        await self._around.start()
        await self._around.client("longpoll")


@pytest.fixture(params=["memory", "nats"])
async def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stream]:
    """Yield an empty stream, once the fake and once the real one."""
    if request.param == "memory":
        yield InMemory()
        return
    around = Around(request.getfixturevalue("own_nats"), request.getfixturevalue("background"))
    yield InNats(around, JetStreamReader(await around.client("longpoll"), EVENTS_STREAM, timeout_seconds=1.0))
    await around.close()


async def test_state_gives_the_extent_when_messages_come_and_go(stream: Stream) -> None:
    """An empty stream has its first sequence after its last."""
    empty = await stream.reader.state()
    assert empty.first > empty.last == 0
    await stream.store("a", "a", "b")
    full = await stream.reader.state()
    assert (empty.epoch, 1, 3) == (full.epoch, full.first, full.last)
    await stream.purge(1)
    assert (3, 3) == ((await stream.reader.state()).first, (await stream.reader.state()).last)


async def test_state_has_a_later_epoch_when_the_stream_was_created_again(stream: Stream) -> None:
    """I9: its sequences start again."""
    await stream.store("a")
    before = await stream.reader.state()
    await stream.create_again()
    after = await stream.reader.state()
    assert after.epoch > before.epoch
    assert after.first > after.last == 0


async def test_batch_has_the_messages_of_a_subject_in_order_when_there_are_others(stream: Stream) -> None:
    """has_more is true only when the stream has others of this subject after them."""
    await stream.store("a", "b", "a", "a")
    for limit, seqs, has_more in ((2, [1, 3], True), (3, [1, 3, 4], False), (9, [1, 3, 4], False)):
        batch = await stream.reader.batch(seq=1, subject=stream.subject("a"), limit=limit)
        assert (seqs, has_more) == ([message.seq for message in batch.messages], batch.has_more)
    batch = await stream.reader.batch(seq=2, subject=stream.everything, limit=2)
    assert ([2, 3], True) == ([message.seq for message in batch.messages], batch.has_more)
    assert [stream.subject("b"), stream.subject("a")] == [message.subject for message in batch.messages]


async def test_batch_is_empty_when_nothing_follows(stream: Stream) -> None:
    """Neither a purged sequence nor the end is an error."""
    await stream.store("a", "a", "b")
    batch = await stream.reader.batch(seq=4, subject=stream.everything, limit=5)
    assert ([], False) == (batch.messages, batch.has_more)
    await stream.purge(1)
    batch = await stream.reader.batch(seq=1, subject=stream.subject("a"), limit=5)
    assert ([], False) == (batch.messages, batch.has_more)


async def test_next_seq_finds_the_first_of_a_subject_when_there_is_one(stream: Stream) -> None:
    """A purged sequence is passed over."""
    await stream.store("a", "b", "a")
    reader, subject = stream.reader, stream.subject("a")
    assert (1, 3, None) == (await reader.next_seq(1), await reader.next_seq(2, subject), await reader.next_seq(4))
    await stream.purge(2)
    assert (2, 3) == (await reader.next_seq(1), await reader.next_seq(1, subject))


async def test_time_of_is_that_of_the_message_when_it_is_stored(stream: Stream) -> None:
    """A follower knows a stream again by these times."""
    await stream.store("a", "a")
    (message,) = (await stream.reader.batch(seq=2, subject=stream.everything, limit=1)).messages
    assert message.headers[TIME_HEADER] == await stream.reader.time_of(2)
    assert None is await stream.reader.time_of(3)


async def test_reads_fail_when_nobody_answers(stream: Stream) -> None:
    """One error, whatever is read."""
    await stream.store("a")
    reader = stream.reader
    async with stream.away():
        for read in (
            reader.state(), reader.next_seq(1), reader.time_of(1),
            reader.batch(seq=1, subject=stream.everything, limit=1),
        ):  # fmt: skip
            with pytest.raises(NatsUnavailableError):
                await read
