"""The NATS client against a server that does what a real one can't be made to do."""

import asyncio
import gc

import pytest
from nats.aio.msg import Msg
from tests.testkit.deadlines import stretched, until, within

from roots.nats import broker
from roots.nats.broker import BrokerConfig

DEADLINE_SECONDS = 10.0
WELCOME = b'INFO {"server_id":"x","version":"2.11.0","max_payload":1024,"headers":true}\r\n'


class MoodyServer:
    """Welcomes its first client and hangs up on it, says nonsense to the second connection, and welcomes the third.

    Shape: ended has the connections, by number, that their client has ended.
    """

    def __init__(self) -> None:
        self.ended: set[int] = set()
        self.is_lost = asyncio.Event()
        self.is_back = asyncio.Event()
        self._count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one connection."""
        self._count += 1
        number = self._count
        writer.write(b"NONSENSE\r\n" if number == 2 else WELCOME)
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
                if number == 1:
                    await self.is_lost.wait()
                    break
                self.is_back.set()
        else:
            self.ended.add(number)
        writer.close()


async def test_connection_is_ended_when_a_try_to_reconnect_was_not_welcomed() -> None:
    """I9: each try leaves nothing behind; nats-py alone forgets the socket of one that was accepted and then failed."""
    moody = MoodyServer()
    async with await asyncio.start_server(moody.serve, "127.0.0.1", 0) as server, within(DEADLINE_SECONDS):
        port = server.sockets[0].getsockname()[1]
        config = BrokerConfig(url=f"nats://127.0.0.1:{port}", user="tasks", password="secret")
        client = await broker.connect(config)
        moody.is_lost.set()
        await moody.is_back.wait()
        await until(lambda: 2 in moody.ended)
        await client.close()


async def test_connection_is_ended_when_connecting_is_cancelled() -> None:
    """I9: nobody else has the client, whose socket would stay open."""
    accepted, ended = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        ended.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, within(DEADLINE_SECONDS):
        port = server.sockets[0].getsockname()[1]
        config = BrokerConfig(url=f"nats://127.0.0.1:{port}", user="tasks", password="secret")
        connecting = asyncio.create_task(broker.connect(config))
        await accepted.wait()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        # What was left open is closed now, with a warning, which would else come in a later test.
        gc.collect()
        await ended.wait()


async def test_request_is_cancelled_when_its_answer_comes_in_the_same_moment() -> None:
    """I8: a loop that was told to stop stops, though asyncio.wait_for of Python 3.11 forgets such a cancellation."""
    moody = MoodyServer()
    async with await asyncio.start_server(moody.serve, "127.0.0.1", 0) as server, within(DEADLINE_SECONDS):
        port = server.sockets[0].getsockname()[1]
        client = await broker.connect(BrokerConfig(url=f"nats://127.0.0.1:{port}", user="tasks", password="secret"))
        asking = asyncio.create_task(client.request("subject", timeout=stretched(DEADLINE_SECONDS)))
        while not client._resp_map:  # noqa: ASYNC110  # what is awaited has no event
            await asyncio.sleep(0)
        (answer,) = client._resp_map.values()
        answer.set_result(Msg(client))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await client.close()
        moody.is_lost.set()
