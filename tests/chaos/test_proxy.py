"""The proxy that breaks connections, in front of a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.integration.http_client import HttpConnection

from .chance import source
from .proxy import Proxy

BODY = b"x" * 20_000
DEADLINE_SECONDS = 5.0


class Upstream:
    """Answers every request with BODY. Shape: answered counts the answers that were written."""

    def __init__(self) -> None:
        self.answered = 0
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, until it ends."""
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
                self.answered += 1
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            self.ended.set()


@asynccontextmanager
async def proxied(*, drops: float = 0.0, slows: float = 0.0) -> AsyncIterator[tuple[Upstream, Proxy]]:
    """Yield a server and a proxy in front of it."""
    upstream = Upstream()
    async with await asyncio.start_server(upstream.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Proxy("127.0.0.1", port, source(1, "proxy"), drops=drops, slows=slows) as proxy:
            yield upstream, proxy
        async with asyncio.timeout(DEADLINE_SECONDS):
            await upstream.ended.wait()


@pytest.mark.parametrize("slows", [0.0, 1.0])
async def test_proxy_forwards_whole_answers_when_it_breaks_nothing(slows: float) -> None:
    """Two requests on one connection, read at once or slowly."""
    async with proxied(slows=slows) as (_, proxy), HttpConnection(proxy.url) as connection:
        for _ in range(2):
            assert BODY == (await connection.request("GET", "/")).body


async def test_proxy_loses_answer_that_upstream_wrote_when_it_drops() -> None:
    """The upstream can't know that its answer never came."""
    async with proxied(drops=1.0) as (upstream, proxy), HttpConnection(proxy.url) as connection:
        with pytest.raises(ConnectionError):
            await connection.request("GET", "/")
        assert (1, 1) == (upstream.answered, proxy.dropped_count)


async def test_proxy_ends_connection_when_it_cuts() -> None:
    """A connection that was fine is gone, and the next one is fine."""
    async with proxied() as (_, proxy), HttpConnection(proxy.url) as connection:
        await connection.request("GET", "/")
        proxy.cut(1.0)
        assert 1 == proxy.cut_count
        with pytest.raises(ConnectionError):
            await connection.request("GET", "/")
        assert 200 == (await connection.request("GET", "/")).status


async def test_proxy_ends_connection_when_nobody_listens_behind_it() -> None:
    """As while a process is away."""
    async with Proxy("127.0.0.1", 1, source(1, "proxy")) as proxy, HttpConnection(proxy.url) as connection:
        with pytest.raises(ConnectionError):
            await connection.request("GET", "/")
