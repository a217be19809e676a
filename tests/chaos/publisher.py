"""Writers on NATS: publish unique messages as a back end would, each again until it is acknowledged."""

import asyncio
import json
import random
import time

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from roots.contracts.events import Event, headers_of
from roots.contracts.subjects import EVENTS_STREAM, subject_of

from .backoff import Backoff
from .chance import source
from .history import Published
from .notes import Notes
from .settings import BUSY_PATHS

ACK_SECONDS = 2.0
# Most messages are short; some are so long that few of them fill an answer.
LONG_PART = 0.03
LONG_BYTES = (4_000, 60_000)
# Now and then so many at once, on one path, that they take more than one answer.
BURST_EVERY_SECONDS = 25.0
BURST_MESSAGES = 280
BURST_SLOTS = 20


class Publisher:
    """One writer on NATS."""

    def __init__(self, number: int, client: Client, seed: int, per_second: float, notes: Notes) -> None:
        self.published: list[Published] = []
        self._name = f"p{number}"
        self._client = client
        self._chance = source(seed, f"publisher {number}")
        self._per_second = per_second
        self._notes = notes
        self._count = 0

    async def write(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set; what is under way is finished first."""
        now = asyncio.get_running_loop().time
        burst_at = now() + self._chance.expovariate(1 / BURST_EVERY_SECONDS)
        while not stop.is_set():
            await asyncio.sleep(self._chance.expovariate(self._per_second))
            if now() >= burst_at:
                burst_at = now() + self._chance.expovariate(1 / BURST_EVERY_SECONDS)
                await self._burst()
            else:
                await self._publish(self._chance.choice(BUSY_PATHS))

    async def _burst(self) -> None:
        path = self._chance.choice(BUSY_PATHS)
        slots = asyncio.Semaphore(BURST_SLOTS)

        async def publish() -> None:
            async with slots:
                await self._publish(path)

        await asyncio.gather(*(publish() for _ in range(BURST_MESSAGES)))

    async def _publish(self, path: str) -> None:
        self._count += 1
        event_id = f"{self._name}-{self._count}"
        message = json.dumps({"id": event_id, "pad": _padding(self._chance)})
        event = Event(path=path, message=message.encode(), event_id=event_id, committed_ns=time.time_ns())
        backoff = Backoff(self._chance)
        while True:
            try:
                ack = await self._client.jetstream().publish(
                    subject_of(path),
                    event.message,
                    timeout=ACK_SECONDS,
                    stream=EVENTS_STREAM,
                    headers=headers_of(event),
                )
            except (nats.errors.Error, APIError, OSError) as error:
                self._notes.count(f"publish {type(error).__name__}")
                await asyncio.sleep(backoff.next())
            else:
                self._notes.count("publish repeated" if ack.duplicate else "publish")
                self.published.append(Published(path=path, message=message, event_id=event_id, seq=ack.seq))
                return


def _padding(chance: random.Random) -> str:
    return "x" * (chance.randint(*LONG_BYTES) if chance.random() < LONG_PART else chance.randint(0, 200))
