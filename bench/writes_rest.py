"""Raw connections to `POST /tasks`, at the cost of a few microseconds for each request."""

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable
from typing import cast

from bench.errors import LoadError
from bench.publishers import Publisher

_DESCRIPTION = b"buy milk and bread"
_ANSWER_SECONDS = 20.0
_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length: "


class Connection(asyncio.Protocol):
    """One kept-alive connection to `POST /tasks`; `on_answer` is called for each answer, with whether it was 201."""

    def __init__(self, host: bytes, on_answer: Callable[["Connection", bool], None]) -> None:
        self.asked_at = 0.0
        self.is_broken = False
        self._head = b"POST /tasks HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nContent-Length: " % host
        self._on_answer = on_answer
        self._buffer = b""
        self._transport: asyncio.Transport

    def post(self, description: bytes) -> None:
        """Create a task; one at a time."""
        body = b'{"description":"%b","isDone":false}' % description
        self.asked_at = time.perf_counter()
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))

    def close(self) -> None:
        """Hang up."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Report each whole answer."""
        data = self._buffer + data
        head, end, body = data.partition(_END_OF_HEAD)
        if not end or len(body) < _length_of(head):
            self._buffer = data
            return
        self._buffer = b""
        self._on_answer(self, data.startswith(b"HTTP/1.1 201 "))

    def connection_lost(self, _error: Exception | None) -> None:
        """Take it for a refusal, so that nobody waits for an answer."""
        self.is_broken = True
        self._on_answer(self, False)


class Writers:
    """Connections that post for a while, each again as soon as it is answered."""

    def __init__(self) -> None:
        self.took = array("d")
        self.refused = 0
        self._ends = 0.0
        self._connections: list[Connection] = []
        self._busy: set[Connection] = set()
        self._all_idle = asyncio.Event()

    async def connect(self, port: int, connections: int) -> None:
        """Open the connections. Errors: OSError."""
        self._connections = await connect(port, connections, self._answered)

    async def post_for(self, seconds: float) -> None:
        """Post on every connection for `seconds`, and await the last answers. Errors: LoadError, TimeoutError."""
        self.took = array("d")
        self._ends = time.perf_counter() + seconds
        self._busy = set(self._connections)
        self._all_idle.clear()
        for connection in self._connections:
            connection.post(_DESCRIPTION)
        async with asyncio.timeout(seconds + _ANSWER_SECONDS):
            await self._all_idle.wait()
        if self.refused:
            raise LoadError(f"{self.refused} posts were refused or cut off")

    def close(self) -> None:
        """Hang up."""
        self._busy.clear()
        for connection in self._connections:
            connection.close()

    def _answered(self, connection: Connection, is_created: bool) -> None:  # noqa: FBT001  # a callback's
        if connection not in self._busy:
            return
        now = time.perf_counter()
        self.took.append(now - connection.asked_at)
        self.refused += not is_created
        if now < self._ends and is_created:
            connection.post(_DESCRIPTION)
            return
        self._busy.discard(connection)
        if not self._busy:
            self._all_idle.set()


class RestPublisher(Publisher):
    """Creates a task for each event; its description is the message, so that the event has it.

    One at a time on each connection; what finds none free waits for the next answer, which counts as latency.
    """

    def __init__(self) -> None:
        super().__init__()
        self._free: list[Connection] = []
        self._waiting: deque[bytes] = deque()

    async def begin(self, port: int, connections: int = 8) -> None:
        """Open the connections. Errors: OSError."""
        self._free = await connect(port, connections, self._answered)

    async def send(self, _path: str, message: bytes) -> None:
        """Create one task."""
        self.unanswered += 1
        if self._free:
            self._free.pop().post(message)
        else:
            self._waiting.append(message)

    def _answered(self, connection: Connection, is_created: bool) -> None:  # noqa: FBT001  # a callback's
        if connection in self._free:
            # It was idle, and the server hung up.
            self._free.remove(connection)
            return
        self.unanswered -= 1
        self.refused += not is_created
        if connection.is_broken:
            return
        if self._waiting:
            connection.post(self._waiting.popleft())
        else:
            self._free.append(connection)


async def connect(port: int, count: int, on_answer: Callable[[Connection, bool], None]) -> list[Connection]:
    """Open connections to the port of tasks, or of the gateway. Errors: OSError."""
    host = b"127.0.0.1:%d" % port
    loop = asyncio.get_running_loop()
    opening = [loop.create_connection(lambda: Connection(host, on_answer), "127.0.0.1", port) for _ in range(count)]
    return [connection for _, connection in await asyncio.gather(*opening)]


def _length_of(head: bytes) -> int:
    at = head.lower().find(_LENGTH)
    if at < 0:
        return 0
    rest = head[at + len(_LENGTH) :]
    return int(rest.partition(b"\r")[0])
