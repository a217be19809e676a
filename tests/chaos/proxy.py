"""A TCP proxy that breaks connections: cuts them, drops answers that the upstream has written, and reads slowly."""

import asyncio
import contextlib
import random
import socket
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
SLOW_CHUNK_BYTES = 8 * 1024
SLOW_BUFFER_BYTES = 4 * 1024
SLOW_SECONDS = (0.05, 0.4)
DIAL_SECONDS = 2.0


class Proxy:
    """Forwards connections to `host:port`.

    Shape: drops is the part of the answers that are read from the upstream and thrown away, with their connection;
        slows that of the connections whose answers are read in small pieces, with pauses.
    """

    def __init__(self, host: str, port: int, chance: random.Random, *, drops: float = 0.0, slows: float = 0.0) -> None:
        self.drops = drops
        self.cut_count = 0
        self.dropped_count = 0
        self._upstream = (host, port)
        self._chance = chance
        self._slows = slows
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            self.cut(1.0)
            await asyncio.gather(*self._serving)
            await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self, part: float) -> None:
        """Cut a random part of the connections, as they are."""
        for link in list(self._links):
            if self._chance.random() < part:
                self.cut_count += 1
                link.cut()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_slow = self._chance.random() < self._slows
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                far = await _dial(*self._upstream, is_slow=is_slow)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        link = _Link((reader, writer), far)
        self._links.add(link)
        try:
            await asyncio.gather(self._forward_requests(link), self._forward_answers(link, is_slow=is_slow))
        except (OSError, RuntimeError):
            # Cut by us, which uvloop calls a RuntimeError, or broken by one of the two.
            pass
        finally:
            self._links.discard(link)
            link.cut()

    async def _forward_requests(self, link: "_Link") -> None:
        while chunk := await link.near[0].read(CHUNK_BYTES):
            link.far[1].write(chunk)
            await link.far[1].drain()
        raise ConnectionResetError

    async def _forward_answers(self, link: "_Link", *, is_slow: bool) -> None:
        while chunk := await link.far[0].read(SLOW_CHUNK_BYTES if is_slow else CHUNK_BYTES):
            if self._chance.random() < self.drops:
                self.dropped_count += 1
                raise ConnectionResetError
            if is_slow:
                await asyncio.sleep(self._chance.uniform(*SLOW_SECONDS))
            link.near[1].write(chunk)
            await link.near[1].drain()
        raise ConnectionResetError


class _Link:
    """Both halves of one forwarded connection."""

    def __init__(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.near = near
        self.far = far

    def cut(self) -> None:
        """End both at once, whatever is under way."""
        for _, writer in (self.near, self.far):
            with contextlib.suppress(RuntimeError):
                writer.transport.abort()


async def _dial(host: str, port: int, *, is_slow: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not is_slow:
        return await asyncio.open_connection(host, port)
    end = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A small window, so that the upstream notices that nobody reads.
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)
    end.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(end, (host, port))
        return await asyncio.open_connection(sock=end, limit=SLOW_CHUNK_BYTES)
    except BaseException:
        end.close()
        raise
