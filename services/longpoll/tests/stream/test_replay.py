"""Replays: which polls share a reading, and which must not."""

import asyncio
from typing import cast

from tests.testkit.deadlines import until, within

from roots.nats.reader import JetStreamReader
from roots_longpoll.delivery.poll import Limits
from roots_longpoll.delivery.ring import Ring
from roots_longpoll.delivery.stats import Unreadable
from roots_longpoll.stream.replay import Replayer

from ..stream_support import FakeStream

STARTS = (("a", 10),)


async def test_reading_is_shared_only_when_it_is_of_the_same_log() -> None:
    """I9: a reading that began before the stream was created again is of no use to a poll that came after."""
    stream, ring = FakeStream(), Ring(1000)
    stream.store(100)
    stream.gate.clear()
    ring.reset(1, 100)
    replayer = Replayer(cast(JetStreamReader, stream), ring, Limits(), Unreadable(), slots=16)
    tasks = [asyncio.create_task(replayer.read(STARTS)) for _ in range(2)]
    await until(lambda: stream.reads == 1)
    stream.create_again()
    stream.store(100)
    ring.reset(2, 100)
    tasks.append(asyncio.create_task(replayer.read(STARTS)))
    await until(lambda: stream.reads == 2)
    stream.gate.set()
    async with within(5):
        replays = await asyncio.gather(*tasks)
    assert [2, 2, 2] == [replay.epoch for replay in replays]
    assert 1 == replayer.results["shared"]
