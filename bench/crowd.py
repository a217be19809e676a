"""A crowd of long polls held by one process, at the cost of a few microseconds for each answer.

A poller knows the bytes of its server's answers just well enough to find the events in them and to ask again; the crowd
notes when each event was read, and that no poller misses one, reads one twice or reads two in the wrong order.
"""

import asyncio
import statistics
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from bench.errors import LoadError
from bench.publishers import Publisher

NUMBER_DIGITS = 12
# Connecting all at once would measure the listen backlog.
_CONNECTS_AT_ONCE = 256
_QUIET_SECONDS = 0.4
_LOOK_SECONDS = 0.05
_LENGTH = b"ength: "
_END_OF_HEAD = b"\r\n\r\n"
_MARK = b"#"


def message_of(number: int, size_bytes: int) -> bytes:
    """Return the message of event `number`: its number between marks, filled up to `size_bytes`."""
    return (b"#%0*d#" % (NUMBER_DIGITS, number)).ljust(size_bytes, b"x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of publish → read by the client. Units: milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """Return the percentiles of `seconds`. Errors: LoadError when there are none."""
        if not seconds:
            raise LoadError("no event was delivered")
        cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
        return cls(p50_ms=cuts[49] * 1000, p90_ms=cuts[89] * 1000, p99_ms=cuts[98] * 1000, max_ms=max(seconds) * 1000)


class Poller(asyncio.Protocol, ABC):
    """One client: a connection that always has one poll under way. Its dialect is a subclass."""

    __slots__ = ("_buffer", "asked_at", "crowd", "last", "request", "transport")

    def __init__(self, request: bytes) -> None:
        self.crowd: Crowd
        self.transport: asyncio.Transport
        self.request = request
        self.last = -1
        self.asked_at = 0.0
        self._buffer = b""

    @abstractmethod
    def next_request(self, answer: bytes) -> bytes:
        """Return the poll that follows `answer`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first poll."""
        self.transport = cast(asyncio.Transport, transport)
        self.asked_at = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Note the events of a whole answer, and ask again."""
        if self._buffer:
            data = self._buffer + data
        end = data.find(_END_OF_HEAD)
        at = data.find(_LENGTH, 0, end)
        if end < 0 or (at >= 0 and len(data) < end + 4 + int(data[at + len(_LENGTH) : data.find(b"\r", at)])):
            self._buffer = data
            return
        self._buffer = b""
        now = time.perf_counter()
        crowd = self.crowd
        crowd.answers += 1
        crowd.slowest_answer = max(crowd.slowest_answer, now - self.asked_at)
        if data.startswith(b"HTTP/1.1 5"):
            crowd.errors += 1
        at = data.find(_MARK, end)
        while at >= 0:
            number = int(data[at + 1 : at + 1 + NUMBER_DIGITS])
            if number <= self.last:
                crowd.disordered += 1
            self.last = number
            crowd.latencies.append(now - crowd.published[number])
            at = data.find(_MARK, at + 2 + NUMBER_DIGITS)
        self.request = self.next_request(data)
        self.asked_at = now
        self.transport.write(self.request)

    def connection_lost(self, _error: Exception | None) -> None:
        """Count the lost connection."""
        self._buffer = b""
        self.crowd.lost_connections += 1


class RootsPoller(Poller):
    """Asks again at the `uid/cursor` that the last answer named."""

    __slots__ = ("_tail",)

    def __init__(self, position: bytes, host: bytes) -> None:
        self._tail = b" HTTP/1.1\r\nHost: %b\r\n\r\n" % host
        super().__init__(b"GET /%b%b" % (position, self._tail))

    def next_request(self, answer: bytes) -> bytes:
        """Return the poll at the answer's position; after an error the one of before."""
        at = answer.rfind(b'"reconnectWith":"')
        if at < 0:
            return self.request
        start = at + 17
        return b"GET /%b%b" % (answer[start : answer.index(b'"', start)], self._tail)


class NchanPoller(Poller):
    """Asks again with the position in the two headers in which Nchan keeps it."""

    __slots__ = ("_head",)

    def __init__(self, channels: bytes, host: bytes) -> None:
        self._head = b"GET /poll/%b HTTP/1.1\r\nHost: %b\r\n" % (channels, host)
        super().__init__(self._head + b"\r\n")

    def next_request(self, answer: bytes) -> bytes:
        """Return the poll after the answer's message; after a timeout the one of before."""
        since = answer.find(b"Last-Modified: ")
        tag = answer.find(b"Etag: ")
        if since < 0 or tag < 0:
            return self.request
        return b"%bIf-Modified-Since: %b\r\nIf-None-Match: %b\r\n\r\n" % (
            self._head,
            answer[since + 15 : answer.index(b"\r", since)],
            answer[tag + 6 : answer.index(b"\r", tag)],
        )


class PlainPoller(Poller):
    """Asks for the same again, of a server that keeps no position."""

    __slots__ = ()

    def __init__(self, path: bytes, host: bytes) -> None:
        super().__init__(b"GET /poll/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path, host))

    def next_request(self, _answer: bytes) -> bytes:
        """Return the same request."""
        return self.request


class Crowd:
    """Pollers, and what they saw."""

    def __init__(self, pollers: Sequence[Poller]) -> None:
        self.pollers = pollers
        self.published = array("d")
        self.latencies = array("d")
        self.answers = 0
        self.errors = 0
        self.disordered = 0
        self.lost_connections = 0
        self.slowest_answer = 0.0
        for poller in pollers:
            poller.crowd = self

    async def connect(self, host: str, port: int) -> None:
        """Connect every poller, each of which sends its poll."""
        await self.connect_some(self.pollers, host, port)

    async def connect_some(self, pollers: Iterable[Poller], host: str, port: int) -> None:
        """Connect `pollers`. Errors: OSError when a connection is refused."""
        loop = asyncio.get_running_loop()
        at_once = asyncio.Semaphore(_CONNECTS_AT_ONCE)

        async def connect(poller: Poller) -> None:
            async with at_once:
                await loop.create_connection(lambda: poller, host, port)

        await asyncio.gather(*map(connect, pollers))

    async def settled(self, seconds: float = 60.0) -> None:
        """Return once no answer has come for a moment, so that every poll is held. Errors: TimeoutError."""
        async with asyncio.timeout(seconds):
            before = -1
            while before != self.answers:
                before = self.answers
                await asyncio.sleep(_QUIET_SECONDS)

    async def delivered(self, count: int, patience_seconds: float = 5.0) -> bool:
        """Wait until `count` deliveries were noted, or none came for so long; return whether they were."""
        seen, since = len(self.latencies), time.perf_counter()
        while seen < count:
            await asyncio.sleep(_LOOK_SECONDS)
            if len(self.latencies) > seen:
                seen, since = len(self.latencies), time.perf_counter()
            elif time.perf_counter() - since > patience_seconds:
                return False
        return True

    def begin(self) -> None:
        """Forget what was seen, so that a measurement begins."""
        self.published = array("d")
        self.latencies = array("d")
        self.slowest_answer = 0.0
        for poller in self.pollers:
            poller.last = -1

    async def publish(self, publisher: Publisher, path: str, size_bytes: int) -> None:
        """Send the next event, and note when."""
        number = len(self.published)
        message = message_of(number, size_bytes)
        self.published.append(time.perf_counter())
        await publisher.send(path, message)

    def close(self) -> None:
        """Hang up."""
        for poller in self.pollers:
            poller.transport.abort()
