"""How events reach a target: sent without waiting for the answer, and counted until it comes."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import cast

from bench.errors import LoadError
from roots.contracts.events import Event, new_event_id
from roots.nats.broker import BrokerConfig
from roots_outbox.delivery import BATCH_LIMIT, MAX_PACE_SECONDS, PACE_SECONDS_PER_EVENT, READ_LIMIT
from roots_outbox.jetstream import JetStreamSink

_FLUSH_SECONDS = 20.0
_LOOK_SECONDS = 0.01


class Publisher(ABC):
    """Counts events that were sent and not yet acknowledged."""

    def __init__(self) -> None:
        self.unanswered = 0
        self.refused = 0

    @abstractmethod
    async def send(self, path: str, message: bytes) -> None:
        """Publish one event."""

    async def flushed(self) -> None:
        """Return once all that was sent has been acknowledged. Errors: LoadError when something was not."""
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                # Polled, so that an acknowledgement costs no more than a subtraction.
                while self.unanswered > 0:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            raise LoadError(f"{self.unanswered} events were not acknowledged in {_FLUSH_SECONDS:.0f} s") from error
        if self.refused:
            raise LoadError(f"{self.refused} events were refused")


class StreamPublisher(Publisher):
    """Publishes to JetStream as the relay does, through its own publisher: with its batches, its pace and its ids.

    What waits is a queue here; the relay reads it from Postgres.
    """

    def __init__(self, config: BrokerConfig) -> None:
        super().__init__()
        self._relay = JetStreamSink(config)
        self._waiting: deque[Event] = deque()
        self._came = asyncio.Event()
        self._tasks = [asyncio.create_task(self._relay.run()), asyncio.create_task(self._publish())]

    async def begin(self) -> None:
        """Return once the stream takes events."""
        while not self._relay.checks["stream"]().is_ok:  # noqa: ASYNC110  # the relay looks once a second
            await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """Disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def send(self, path: str, message: bytes) -> None:
        """Publish one event."""
        self.unanswered += 1
        self._waiting.append(Event(path=path, message=message, event_id=new_event_id(), committed_ns=time.time_ns()))
        self._came.set()

    async def _publish(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            read_at = time.monotonic()
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), READ_LIMIT))]
            for start in range(0, len(taken), BATCH_LIMIT):
                results = await self._relay.publish(taken[start : start + BATCH_LIMIT])
                self.unanswered -= len(results)
                self.refused += sum(not result.outcome.is_kept for result in results)
            if len(taken) < READ_LIMIT:
                pace_seconds = min(MAX_PACE_SECONDS, len(taken) * PACE_SECONDS_PER_EVENT)
                await asyncio.sleep(read_at + pace_seconds - time.monotonic())
            if self._waiting:
                self._came.set()


class HttpPublisher(Publisher, asyncio.Protocol):
    """Publishes by POST /publish/{path}, pipelined on one connection."""

    def __init__(self, host: bytes) -> None:
        super().__init__()
        self._host = host
        self._transport: asyncio.Transport
        self._rest = b""

    async def send(self, path: str, message: bytes) -> None:
        """Publish one event."""
        self.unanswered += 1
        self._transport.write(
            b"POST /publish/%b HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (path.encode(), self._host, len(message), message)
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Count answers by their status lines."""
        data = self._rest + data
        answers = data.count(b"HTTP/1.1 ")
        self.unanswered -= answers
        self.refused += answers - data.count(b"HTTP/1.1 2")
        # A status line may be cut anywhere; what could still become one is looked at again.
        self._rest = data[-10:] if b"HTTP/1.1 " not in data[-10:] else b""


class LinePublisher(Publisher, asyncio.Protocol):
    """Publishes by one line of text on a connection of its own; nothing is acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self._transport: asyncio.Transport

    async def send(self, _path: str, message: bytes) -> None:
        """Publish one event."""
        self._transport.write(message + b"\n")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)
