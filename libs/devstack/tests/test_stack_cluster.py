"""The whole system on three nats-servers: one dies, all restart, and it delivers before and after."""

import asyncio
import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.testkit import faults
from tests.testkit.deadlines import stretched, within

from roots_devstack.stack import Stack, StackConfig

DEADLINE_SECONDS = 30.0
STOP_SECONDS = 10.0
UNAVAILABLE = 503
NATS_NAMES = ["nats-1", "nats-2", "nats-3"]


def ask(stack: Stack, method: str, path: str, body: object = None) -> Any:
    """Send a request through the gateway, again when a 503 says so, as a client does; return the answer's JSON."""
    while True:
        connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=stretched(DEADLINE_SECONDS))
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        if response.status != UNAVAILABLE:
            assert response.status < 300, content
            return json.loads(content)
        time.sleep(float(response.getheader("Retry-After", "")))


class Listener:
    """A client on path `tasks`, through the gateway."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._position = ask(stack, "GET", "/comet/")["reconnectWith"]
        ask(stack, "POST", f"/tasks/connect/{self._position.partition('/')[0]}", ["tasks"])
        self.heard: list[str] = []

    def hear(self, description: str) -> None:
        """Add a task, and poll until its event is here."""
        ask(self._stack, "POST", "/tasks", {"description": description})
        while description not in self.heard:
            answer = ask(self._stack, "GET", f"/comet/{self._position}")
            assert "gaps" not in answer
            self._position = answer["reconnectWith"]
            self.heard += [
                json.loads(update["message"])["description"] for update in answer["updates"] if update["message"]
            ]


async def hear(listener: Listener, description: str) -> None:
    """Run `Listener.hear` with a deadline."""
    async with within(DEADLINE_SECONDS):
        await asyncio.to_thread(listener.hear, description)


async def test_system_delivers_when_the_streams_leader_is_killed_and_when_all_servers_restart(
    tmp_path: Path, family: Callable[[int], set[int]], wait_until_gone: Callable[[set[int]], set[int]]
) -> None:
    """One client hears of each task once and in order, whichever servers die (I1, I2, I9); no process is left."""
    async with Stack(StackConfig(home=tmp_path, nats_nodes=3)) as stack:
        assert NATS_NAMES == [name for name in stack.processes if name.startswith("nats")]
        listener = await asyncio.to_thread(Listener, stack)
        await hear(listener, "before")

        leader = await faults.leader_of(stack)
        await faults.kill(stack, leader)
        await hear(listener, "without its leader")

        await asyncio.gather(*(faults.restart(stack, name) for name in NATS_NAMES))
        await hear(listener, "after a restart of all")
        pids = {pid for process in stack.processes.values() if process.pid for pid in family(process.pid)}

        async with within(STOP_SECONDS):
            await stack.stop()

    assert ["before", "without its leader", "after a restart of all"] == listener.heard
    assert set() == wait_until_gone(pids)
