"""What other tests have otherwise: replicas that are found by their name, and holds and a drain as long as deployed.

The replicas have the default of every setting that has one, and the gateway its own of a container. The two long waits,
for the end of a hold and for that of a drain, are one.
"""

import asyncio
import ipaddress
import random
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
from tests.testkit.deadlines import clock, until

from roots_devstack.keys import Keys
from roots_devstack.processes import ports, probes
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import bare
from roots_devstack.processes.programs import checkout_path
from roots_devstack.processes.supervision import Process
from roots_devstack.servers.broker import Broker
from roots_devstack.servers.gateway import Gateway

from .listener import Listener
from .metrics import value

CLIENTS = 40
HOLD_SECONDS = 25.0
DRAIN_SECONDS = 25.0
# What a hold or a drain may take beside its own time.
SPARE_SECONDS = 2.0
TYPE_A = 1


class Replica:
    """A replica of longpoll with a loopback address of its own, on the ports that it has in its container."""

    def __init__(self, broker: Broker, uid_key: str) -> None:
        self.address = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"  # noqa: S311
        settings = {
            "ROOTS_HTTP_HOST": self.address,
            "ROOTS_NATS_URL": broker.url,
            "ROOTS_NATS_PASSWORD": broker.password("longpoll"),
            "ROOTS_UID_KEY": uid_key,
        }
        self.process = Process(
            Program(name="longpoll", command=(sys.executable, "-m", "roots_longpoll"), env=bare(settings))
        )
        self._admin_url = f"http://{self.address}:9008"

    async def __aenter__(self) -> Self:
        await self.process.start()
        await until(self._is_ready, 60)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.process.stop()

    @property
    def held(self) -> int:
        """How many polls it holds."""
        return int(value(self._admin_url, "roots_longpoll_polls_held"))

    async def _is_ready(self) -> bool:
        return await probes.unready_reason(self._admin_url) is None


class Names(asyncio.DatagramProtocol):
    """A name server for the gateway: `longpoll` has the addresses of some replicas, and nothing else has any."""

    def __init__(self) -> None:
        self.replicas: tuple[Replica, ...] = ()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note what to answer by."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question: RFC 1035, 4.1."""
        # The header has twelve bytes; the question ends with its type and class, and other records follow.
        end = data.index(b"\0", 12) + 5
        kind = int.from_bytes(data[end - 4 : end - 2], "big")
        replicas = self.replicas if kind == TYPE_A and data[12:end].startswith(b"\x08longpoll\0") else ()
        records = b"".join(
            b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04" + ipaddress.ip_address(replica.address).packed for replica in replicas
        )
        counts = b"\0\x01" + len(replicas).to_bytes(2, "big") + b"\0\0\0\0"
        self._transport.sendto(data[:2] + b"\x81\x80" + counts + data[12:end] + records, addr)


def by_name(gateway: Gateway) -> Process:
    """Return the gateway's process, which finds its replicas by their name, as in its container."""
    program = gateway.process.program
    return Process(replace(program, command=(*program.command[:-1], checkout_path("deploy/haproxy/by-name.cfg"))))


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[None]:
    """Run a process until the end of the block."""
    await process.start()
    try:
        yield
    finally:
        await process.stop()


async def has_replicas(gateway: Gateway, count: int) -> bool:
    """Tell whether the gateway gives polls to so many replicas."""
    answer = await probes.get(f"{gateway.admin_url}/metrics")
    text = "" if answer is None else answer.body.decode()
    found = re.search(r'haproxy_backend_active_servers{proxy="longpolls"} (\d+)', text)
    return found is not None and int(found[1]) == count


async def ask_and_hold(gateway: Gateway, resources: AsyncExitStack) -> Listener:
    """Return a client that has its uid: what it asks next is held."""
    client = await resources.enter_async_context(Listener(gateway.url, gateway.url, prefix="/comet"))
    await client.poll()
    return client


async def held_seconds(client: Listener) -> tuple[float, float, bool]:
    """Poll; return how long it was held, in time and on the clock of deadlines, and whether it was sent away."""
    began, counted = time.monotonic(), clock()
    answer = await client.poll()
    assert [] == answer["updates"]
    return time.monotonic() - began, clock() - counted, "retry" in answer


@pytest.mark.timeout(180)
async def test_polls_are_held_and_sent_away_in_time_when_every_setting_has_its_default(tmp_path: Path) -> None:
    """I7, I8: a hold takes 20 to 25 s, a drain 25 s; no poll fails when the name loses a replica."""
    async with AsyncExitStack() as resources:
        broker = await resources.enter_async_context(Broker(tmp_path))
        await broker.provision()
        uid_key = Keys(tmp_path / "secrets").get("uid-key")
        leaving, staying = [await resources.enter_async_context(Replica(broker, uid_key)) for _ in range(2)]
        loop = asyncio.get_running_loop()
        transport, names = await loop.create_datagram_endpoint(Names, local_addr=(ports.HOST, 0))
        resources.callback(transport.close)
        names.replicas = (leaving, staying)
        nowhere = f"{ports.HOST}:1"
        gateway = Gateway(
            tmp_path,
            port=ports.reserve(),
            tasks=nowhere,
            subscriptions=nowhere,
            longpolls=[nowhere],
            extra_env={"ROOTS_GATEWAY_NAME_SERVER": f"{ports.HOST}:{transport.get_extra_info('sockname')[1]}"},
        )
        await resources.enter_async_context(running(by_name(gateway)))
        await until(lambda: has_replicas(gateway, 2))

        clients = [await ask_and_hold(gateway, resources) for _ in range(CLIENTS)]
        polls = [asyncio.create_task(held_seconds(client)) for client in clients]
        await until(lambda: leaving.held + staying.held == CLIENTS)
        assert min(leaving.held, staying.held) >= CLIENTS / 4
        names.replicas = (staying,)
        drain = asyncio.create_task(leaving.process.stop(DRAIN_SECONDS + SPARE_SECONDS))

        held = await asyncio.gather(*polls)
        sent_away = [counted for _, counted, is_sent_away in held if is_sent_away]
        ended = [(seconds, counted) for seconds, counted, is_sent_away in held if not is_sent_away]
        assert sent_away
        assert max(sent_away) < DRAIN_SECONDS + SPARE_SECONDS
        assert ended
        assert min(seconds for seconds, _ in ended) >= 0.8 * HOLD_SECONDS
        assert max(counted for _, counted in ended) < HOLD_SECONDS + SPARE_SECONDS
        await drain
        assert 0 == leaving.process.last_status

        polls = [asyncio.create_task(held_seconds(client)) for client in clients]
        await until(lambda: staying.held == CLIENTS)
        for poll in polls:
            poll.cancel()
        await asyncio.wait(polls)
