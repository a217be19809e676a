"""Following a stream, on a stream of the test's own: what the live way loses, repeats or brings at a bad moment."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.testkit.deadlines import until
from tests.testkit.examples import drawn

from roots.nats.reader import JetStreamReader
from roots.nats.stored import Stored
from roots_longpoll.stream import follower
from roots_longpoll.stream.follower import Follower

from ..stream_support import FakeStream


class FakeSink:
    """Keeps what it gets. Shape: begun counts beginnings; seqs are those since the last, those it began with too."""

    def __init__(self) -> None:
        self.begun = 0
        self.epoch = 0
        self.after = 0
        self.seqs: list[int] = []
        self.head = 0
        self.times_verified = 0

    def begin(self, epoch: int, after: int, messages: list[Stored], head: int, _epoch_start: int) -> None:
        """Begin again."""
        self.begun += 1
        self.epoch, self.after, self.head = epoch, after, head
        self.seqs = [message.seq for message in messages]

    def receive(self, message: Stored) -> None:
        """Take a message; one that is not after all others is a fault."""
        assert message.seq > self.head
        self.head = message.seq
        self.seqs.append(message.seq)

    def skip_to(self, seq: int) -> None:
        """Take note of an end."""
        self.head = max(self.head, seq)

    def verified(self) -> None:
        """Count."""
        self.times_verified += 1


class Following:
    """A follower of a stream, and its sink."""

    def __init__(self, *, preload: int = 100, has_holes: bool = False) -> None:
        self.stream = FakeStream()
        self.sink = FakeSink()
        reader = cast(JetStreamReader, self.stream)
        self.follower = Follower(
            reader, stream="S", subjects="s.>", sink=self.sink, preload=preload, has_holes=has_holes
        )

    def receive(self, *messages: Stored) -> None:
        """Let messages come on the live way."""
        for message in messages:
            self.follower.receive(message)

    async def settled(self) -> None:
        """Return once the stream's end was compared, by a round that begins now."""
        for _ in range(2):
            times = self.sink.times_verified
            self.follower.wake()
            await until(lambda times=times: self.sink.times_verified > times)  # type: ignore[misc]  # mypy takes no default

    @property
    def is_complete(self) -> bool:
        """Whether the sink has all that the stream has."""
        missing = {seq for seq in self.stream.messages if seq > self.sink.after} - set(self.sink.seqs)
        return (self.stream.epoch, self.stream.last) == (self.sink.epoch, self.sink.head) and not missing


@contextlib.asynccontextmanager
async def following(count: int = 0, *, preload: int = 100, has_holes: bool = False) -> AsyncIterator[Following]:
    """Follow a stream of so many messages, live, until the end of the block."""
    found = Following(preload=preload, has_holes=has_holes)
    found.stream.store(count)
    task = asyncio.create_task(found.follower.run())
    found.follower.set_live(is_live=True)
    try:
        await until(lambda: found.sink.times_verified)
        yield found
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(autouse=True)
def rare_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stream's end be compared only when there is a reason, and let nothing wait for what is in flight."""
    monkeypatch.setattr(follower, "RECONCILE_SECONDS", 1000.0)
    monkeypatch.setattr(follower, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(follower, "IN_FLIGHT_SECONDS", 0.0)
    monkeypatch.setattr("roots.nats.reader.LAG_SECONDS", 0.0)


async def test_message_is_taken_at_once_when_it_is_the_next() -> None:
    """The way of nearly all: no task, no queue, no question."""
    async with following(3) as one:
        reads = one.stream.reads
        for message in one.stream.store(5):
            one.receive(message)
            assert message.seq == one.sink.head
        assert (reads, list(range(1, 9))) == (one.stream.reads, one.sink.seqs)


async def test_hole_is_read_when_a_later_message_shows_it() -> None:
    """I1, I2, I9: in order, each once, and counted."""
    async with following(3) as one:
        lost, last = one.stream.store(4), one.stream.store()
        one.receive(*last)
        await until(lambda: one.is_complete)
        one.receive(*lost, *last)
        await one.settled()
        assert list(range(1, 9)) == one.sink.seqs
        assert (1, 4) == (one.follower.repairs, one.follower.repaired_messages)


@pytest.mark.parametrize("lag", [1, 3, 10])
async def test_hole_is_read_when_the_server_that_answers_lags(lag: int) -> None:
    """I1: a batch that ends early is no end."""
    async with following(3) as one:
        one.stream.store(6)
        one.stream.lag = lag
        one.receive(*one.stream.store())
        await until(lambda: one.is_complete)
        assert list(range(1, 11)) == one.sink.seqs


async def test_messages_wait_in_order_when_a_repair_is_under_way() -> None:
    """I1, I2: what comes meanwhile is taken after the hole, also with holes of its own and said twice."""
    async with following(3) as one:
        one.stream.gate.clear()
        one.stream.store(2)
        one.receive(*one.stream.store())
        await until(one.follower._lock.locked)
        more = one.stream.store(4)
        one.receive(more[0], more[1], more[1], more[3])
        await asyncio.sleep(0)
        assert 3 == one.sink.head
        one.stream.gate.set()
        await until(lambda: one.is_complete)
        assert list(range(1, 11)) == one.sink.seqs
        one.receive(*one.stream.store())
        assert 11 == one.sink.head


async def test_all_is_read_when_more_messages_come_than_may_wait() -> None:
    """I7, I9: the queue is bounded; what falls out of it is a hole like any other."""
    async with following(3) as one:
        one.follower._waiting = deque(maxlen=5)
        one.stream.gate.clear()
        one.stream.store()
        for message in one.stream.store(30):
            one.receive(message)
            await asyncio.sleep(0)
        assert 5 == len(one.follower._waiting)
        one.stream.gate.set()
        await until(lambda: one.is_complete)
        assert list(range(1, 35)) == one.sink.seqs


async def test_hole_is_read_later_when_nats_is_away_meanwhile() -> None:
    """I9: a repair that fails is made up for by the next comparison, without a message to remind of it."""
    async with following(3) as one:
        one.stream.is_away = True
        one.stream.store(2)
        one.receive(*one.stream.store())
        reads = one.stream.reads
        await until(lambda: one.stream.reads > reads + 3)
        one.receive(*one.stream.store())
        assert 3 == one.sink.head
        one.stream.is_away = False
        await until(lambda: one.is_complete)
        assert list(range(1, 8)) == one.sink.seqs


async def test_sink_begins_anew_when_the_stream_does_while_a_hole_is_read() -> None:
    """I9: nothing of the stream that was is taken after the beginning, and all of the new one is."""
    async with following(3) as one:
        one.stream.gate.clear()
        one.stream.store(2)
        one.receive(*one.stream.store())
        await until(one.follower._lock.locked)
        one.receive(*one.stream.store(2))
        one.stream.create_again()
        one.receive(*one.stream.store(2))
        one.stream.gate.set()
        await until(lambda: one.is_complete)
        assert (2, [1, 2]) == (one.sink.epoch, one.sink.seqs)
        one.receive(*one.stream.store())
        assert 3 == one.sink.head


@pytest.mark.parametrize("count", [1, 3, 5])
async def test_sink_begins_anew_when_a_low_sequence_tells_of_a_new_stream(count: int) -> None:
    """I9: however many messages the new stream has by then, the first of them is enough."""
    async with following(3) as one:
        one.stream.create_again()
        one.receive(*one.stream.store(count))
        await until(lambda: one.is_complete)
        assert (2, list(range(1, count + 1))) == (one.sink.epoch, one.sink.seqs)


async def test_message_is_taken_soon_when_it_comes_while_the_sink_begins() -> None:
    """I5, I9: what was stored after the stream's extent was told does not wait for the next round."""
    async with following(3) as one:
        one.stream.create_again()
        one.stream.store(2)
        one.stream.gate.clear()
        one.follower.wake()
        await until(one.follower._lock.locked)
        one.receive(*one.stream.store())
        one.stream.gate.set()
        await until(lambda: one.is_complete)
        assert (2, [1, 2, 3]) == (one.sink.epoch, one.sink.seqs)


async def test_sink_begins_anew_when_what_it_lacks_is_gone() -> None:
    """I1, I9: what a purge took can't be read; who is further back learns of a gap."""
    async with following(3) as one:
        one.stream.store(10)
        one.stream.purge(4)
        await one.settled()
        assert (2, 9, [10, 11, 12, 13]) == (one.sink.begun, one.sink.after, one.sink.seqs)


async def test_replaced_records_are_no_hole_when_the_stream_has_holes_by_rule() -> None:
    """I5: a bucket keeps the last record of each key; the others are passed over."""
    async with following(2, has_holes=True, preload=0) as one:
        one.stream.store(5)
        del one.stream.messages[4], one.stream.messages[5]
        one.receive(*one.stream.store())
        await until(lambda: one.sink.head == 8)
        assert ([3, 6, 7, 8], 1) == (one.sink.seqs, one.sink.begun)


async def test_streams_are_compared_over_and_over_when_the_live_way_is_away() -> None:
    """I5: a withdrawal is found without a message and without a reason, as soon as requests are answered."""
    async with following(3) as one:
        one.follower.set_live(is_live=False)
        one.stream.store(2)
        await until(lambda: one.is_complete)
        one.stream.store(2)
        await until(lambda: one.is_complete)
        one.follower.set_live(is_live=True)
        await one.settled()
        reads = one.stream.reads
        await asyncio.sleep(0.05)
        assert reads == one.stream.reads


STEPS: dict[str, Callable[[Following, int], None]] = {
    "live": lambda one, count: one.receive(*one.stream.store(count)),
    "lost": lambda one, count: one.receive(*one.stream.store(count)[:0]),
    "twice": lambda one, count: one.receive(*[message for message in one.stream.store(count) for _ in range(2)]),
    "tail": lambda one, count: one.receive(one.stream.store(count)[-1]),
    "again": lambda one, count: one.receive(
        *(one.stream.messages[seq] for seq in sorted(one.stream.messages)[-count:])
    ),
    "anew": lambda one, _: one.stream.create_again(),
    "purge": lambda one, count: one.stream.purge(count),
    "away": lambda one, _: setattr(one.stream, "is_away", True),
    "back": lambda one, _: setattr(one.stream, "is_away", False),
    "shut": lambda one, _: one.stream.gate.clear(),
    "open": lambda one, _: one.stream.gate.set(),
    "lag": lambda one, count: setattr(one.stream, "lag", count),
    "wake": lambda one, _: one.follower.wake(),
    "small": lambda one, count: setattr(one.follower, "_waiting", deque(one.follower._waiting, maxlen=count)),
}


@settings(max_examples=drawn(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["live", "live", "tail", *STEPS]), st.integers(1, 6), st.integers(0, 6)), max_size=25
    ),
    has_holes=st.booleans(),
)
async def test_sink_has_it_all_when_anything_happened(steps: list[tuple[str, int, int]], has_holes: bool) -> None:  # noqa: FBT001  # drawn
    """I1, I2, I9: in ascending order without a repeat, and once all is quiet, what the stream has."""
    async with following(3, has_holes=has_holes) as one:
        for kind, count, turns in steps:
            STEPS[kind](one, count)
            for _ in range(turns):
                await asyncio.sleep(0)
        one.stream.is_away = False
        one.stream.gate.set()
        await one.settled()
        await until(lambda: one.is_complete)
