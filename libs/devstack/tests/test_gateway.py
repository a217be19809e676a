"""The gateway's end: how long it waits for the polls that it has passed on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.testkit.deadlines import until, within

from roots_devstack.processes import ports
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.gateway import Gateway

DEADLINE_SECONDS = 15.0
POLL = b"GET /comet/ HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Holder:
    """Holds the requests that reach it until they are released."""

    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    is_released: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, when it is released."""
        await reader.readuntil(b"\r\n\r\n")
        self.is_asked.set()
        await self.is_released.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()


@asynccontextmanager
async def stopping(home: Path, grace: str) -> AsyncIterator[tuple[Holder, asyncio.StreamReader]]:
    """Yield a poll that is held behind a gateway which was told to stop, and no longer listens."""
    holder = Holder()
    async with within(DEADLINE_SECONDS), await asyncio.start_server(holder.serve, ports.HOST, 0) as server:
        address = f"{ports.HOST}:{server.sockets[0].getsockname()[1]}"
        gateway = Gateway(
            home,
            port=ports.reserve(),
            tasks=address,
            subscriptions=address,
            longpolls=[address],
            extra_env={"ROOTS_GATEWAY_GRACE": grace},
        )
        await gateway.start()
        await until_ready(gateway, seconds=DEADLINE_SECONDS)
        reader, writer = await asyncio.open_connection(ports.HOST, gateway.port)
        writer.write(POLL)
        await holder.is_asked.wait()
        stopped = asyncio.create_task(gateway.process.stop(DEADLINE_SECONDS))
        await until(lambda: ports.is_free(gateway.port))
        yield holder, reader
        holder.is_released.set()
        await stopped
        writer.close()


async def test_poll_is_answered_when_the_gateway_stops_and_may_wait(tmp_path: Path) -> None:
    """A gateway that was told to wait passes the answer on, though it takes no new connection."""
    async with stopping(tmp_path, "10s") as (holder, reader):
        holder.is_released.set()

        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_poll_is_cut_when_the_gateway_may_wait_no_longer(tmp_path: Path) -> None:
    """The wait has an end: then the client is told to ask again, and does so elsewhere."""
    async with stopping(tmp_path, "100ms") as (_, reader):
        assert b"retry-after: 1" in (await reader.read()).split(b"\r\n")
