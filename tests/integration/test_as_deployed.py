"""What other tests have otherwise: replicas that are found by their name, and holds and a drain as long as deployed.

The replicas have the default of every setting that has one, and the gateway its own of a container. The two long waits,
for the end of a hold and for that of a drain, are one.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, Self

import pytest

from roots_devstack import ports, probes
from roots_devstack.broker import Broker
from roots_devstack.child import Program
from roots_devstack.deadlines import clock, until
from roots_devstack.environment import bare
from roots_devstack.gateway import Gateway
from roots_devstack.keys import Keys
from roots_devstack.processes import Process

from .listener import Listener
from .metrics import value

CLIENTS = 40
HOLD_SECONDS = 25.0
DRAIN_SECONDS = 25.0
# What a hold or a drain may take beside its own time.
SPARE_SECONDS = 2.0


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


@pytest.fixture
def uses_mounts(lacking: Callable[[str], NoReturn]) -> None:
    """See that a process may have a file of its own in place of /etc/hosts."""
    tried = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], check=False)  # noqa: S607  # util-linux
    if tried.returncode != 0:
        lacking("no process may have mounts of its own here (unshare), so that replicas can be given no name")


class Names:
    """What /etc/hosts is for the gateway: one line for each address of `longpoll`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def set(self, *replicas: Replica) -> None:
        """Let the name have the addresses of these replicas, and no others."""
        # In place: what is mounted is this file, not its name.
        self._file.write_text("".join(f"{one.address} longpoll\n" for one in replicas), encoding="ascii")

    def given_to(self, gateway: Gateway) -> Process:
        """Return the gateway's process, which finds the names in this file, and its replicas by their name."""
        program = gateway.process.program
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        unshare = ("unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, self._file)
        env = {**program.env, "ROOTS_LONGPOLL_FOUND_BY": "name"}
        return Process(replace(program, command=(*unshare, *program.command), env=env))


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[None]:
    """Run a process until the end of the block."""
    await process.start()
    try:
        yield
    finally:
        await process.stop()


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
@pytest.mark.usefixtures("uses_mounts")
async def test_polls_are_held_and_sent_away_in_time_when_every_setting_has_its_default(tmp_path: Path) -> None:
    """I7, I8: a hold takes 20 to 25 s, a drain 25 s; no poll fails when the name loses a replica."""
    async with AsyncExitStack() as resources:
        broker = await resources.enter_async_context(Broker(tmp_path))
        await broker.provision()
        uid_key = Keys(tmp_path / "secrets").get("uid-key")
        leaving, staying = [await resources.enter_async_context(Replica(broker, uid_key)) for _ in range(2)]
        names = Names(tmp_path / "hosts")
        names.set(leaving, staying)
        nowhere = f"{ports.HOST}:1"
        gateway = Gateway(
            tmp_path,
            port=ports.reserve(),
            web=tmp_path,
            tasks=nowhere,
            subscriptions=nowhere,
            longpolls=[nowhere],
            extra_env={},
        )
        await resources.enter_async_context(running(names.given_to(gateway)))
        await until(lambda: not ports.is_free(gateway.port))

        clients = [await ask_and_hold(gateway, resources) for _ in range(CLIENTS)]
        polls = [asyncio.create_task(held_seconds(client)) for client in clients]
        await until(lambda: leaving.held + staying.held == CLIENTS)
        assert min(leaving.held, staying.held) >= CLIENTS / 4
        names.set(staying)
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
