"""Replays: which polls share a reading, and which must not."""

import asyncio
from typing import cast

from roots.nats.stored import Batch
from roots.nats.streams import StreamState
from roots_devstack.deadlines import within
from roots_longpoll.delivery.poll import Limits
from roots_longpoll.delivery.ring import Ring
from roots_longpoll.delivery.stats import Unreadable
from roots_longpoll.stream.reader import JetStreamReader
from roots_longpoll.stream.replay import Replayer

STARTS = (("a", 10),)


class EmptyStream:
    """A stream that has nothing, and takes its time to say so. Shape: epoch is its present one."""

    def __init__(self) -> None:
        self.epoch = 1
        self.readings = 0
        self.is_read_twice = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def batch(self, **_query: object) -> Batch:
        """Return nothing once the test allows it."""
        self.readings += 1
        if self.readings > 1:
            self.is_read_twice.set()
        await self.may_answer.wait()
        return Batch(messages=[], has_more=False)

    async def next_seq(self, _seq: int, _subject: str = ">") -> int | None:
        """Return that there is nothing."""
        return None

    async def state(self) -> StreamState:
        """Return the extent."""
        return StreamState(epoch=self.epoch, first=1, last=100)


async def test_reading_is_shared_only_when_it_is_of_the_same_log() -> None:
    """I9: a reading that began before the stream was created anew is of no use to a poll that came after."""
    stream, ring = EmptyStream(), Ring(1000)
    ring.reset(1, 100)
    replayer = Replayer(cast("JetStreamReader", stream), ring, Limits(), Unreadable(), slots=16)
    tasks = [asyncio.create_task(replayer.read(STARTS)) for _ in range(2)]
    await asyncio.sleep(0)
    stream.epoch = 2
    ring.reset(2, 100)
    tasks.append(asyncio.create_task(replayer.read(STARTS)))
    async with within(5):
        await stream.is_read_twice.wait()
        stream.may_answer.set()
        await asyncio.gather(*tasks)
    assert (2, 1) == (stream.readings, replayer.results["shared"])
