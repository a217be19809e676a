"""What one hostile host can do with connections: each kind of flood, as bytes and what is done between them."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.testkit.deadlines import clock, within

# A connection that was ended is opened again so much later.
_AGAIN_SECONDS = 0.25
_DRIP_SECONDS = 0.5
_OPENED_AT_ONCE = 64
_REPEATED_CONNECTIONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """One kind.

    Shape: begin is sent first, drip now and then; is_read tells whether answers are read;
    is_repeated whether begin is sent again at each of them, by few connections.
    """

    begin: bytes = b""
    drip: bytes = b""
    is_read: bool = True
    is_repeated: bool = False

    def connections(self, most: int) -> int:
        """Return how many connections of `most` it uses."""
        return min(most, _REPEATED_CONNECTIONS) if self.is_repeated else most


def _request(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


KINDS = {
    "expect": Flood(begin=_request("POST /tasks", "Expect: 100-continue", "Content-Length: 0")),
    "promised": Flood(begin=_request("POST /tasks", "Expect: 100-continue", "Content-Length: 9000")),
    "half-body": Flood(begin=_request("POST /tasks", "Content-Length: 9000") + b" " * 4500),
    "slow-header": Flood(begin=b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nX: ", drip=b"x"),
    "slow-reader": Flood(begin=_request("GET /tasks") * 20, is_read=False),
    "idle": Flood(),
    "valid": Flood(begin=_request("GET /task/1"), is_repeated=True),
}
MAX_SECONDS = 600.0
ALL = "all"
"""The kind that is all of them at once, which share the connections."""


async def attack(flood: Flood, url: str, *, connections: int, seconds: float, on_open: Callable[[], None]) -> None:
    """Keep `connections` to `url` open for `seconds`; call `on_open` once each has been opened, or tried."""
    ends_at = clock() + seconds
    slots = asyncio.Semaphore(_OPENED_AT_ONCE)
    count = flood.connections(connections)
    first = [asyncio.Event() for _ in range(count)]

    async def keep(begun: asyncio.Event) -> None:
        while clock() < ends_at:
            with contextlib.suppress(OSError):
                async with slots:
                    reader, writer = await _open(url)
                    writer.write(flood.begin)
                begun.set()
                try:
                    await _linger(flood, reader, writer, ends_at)
                finally:
                    writer.close()
            begun.set()
            await asyncio.sleep(_AGAIN_SECONDS)

    tasks = [asyncio.create_task(keep(begun)) for begun in first]
    for begun in first:
        await begun.wait()
    on_open()
    await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _open(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setblocking(False)
    # A reader that is slow keeps little for itself.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
        return await asyncio.open_connection(sock=connection, limit=4096)
    except BaseException:
        connection.close()
        raise


async def _linger(flood: Flood, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends_at: float) -> None:
    """Return when the server has ended the connection, or at `ends_at`."""
    while (left := ends_at - clock()) > 0:
        if not flood.is_read:
            await asyncio.sleep(_DRIP_SECONDS)
            if writer.transport.is_closing():
                return
            continue
        try:
            async with within(_DRIP_SECONDS if flood.drip else left):
                if not await reader.read(4096):
                    return
            if flood.is_repeated:
                writer.write(flood.begin)
        except TimeoutError:
            writer.write(flood.drip)
