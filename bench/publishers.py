"""How events reach a target: sent without waiting for the answer, and counted until it comes."""

import asyncio
import itertools
import time
from typing import cast

from nats.aio.client import Client as BrokerClient
from nats.aio.msg import Msg
from nats.js.api import Header

from bench.errors import LoadError
from roots_common.events import TIME_HEADER
from roots_common.subjects import subject_of

_FLUSH_SECONDS = 20.0
_LOOK_SECONDS = 0.01


class Publisher:
    """Counts events that were sent and not yet acknowledged."""

    def __init__(self) -> None:
        self.unanswered = 0
        self.refused = 0

    async def send(self, path: str, message: bytes) -> None:
        """Publish one event."""
        raise NotImplementedError

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
    """Publishes to JetStream as the relay does: with an id and the time, each acknowledged when it is stored."""

    def __init__(self, client: BrokerClient) -> None:
        super().__init__()
        self._client = client
        self._inbox = client.new_inbox()
        self._ids = itertools.count()

    async def begin(self) -> None:
        """Listen for acknowledgements."""
        await self._client.subscribe(self._inbox, cb=self._acknowledged)

    async def send(self, path: str, message: bytes) -> None:
        """Publish one event."""
        self.unanswered += 1
        headers = {Header.MSG_ID: f"bench-{next(self._ids)}", TIME_HEADER: str(time.time_ns())}
        await self._client.publish(subject_of(path), message, reply=self._inbox, headers=headers)

    async def _acknowledged(self, message: Msg) -> None:
        self.unanswered -= 1
        self.refused += b'"error"' in message.data


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
