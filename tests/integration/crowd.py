"""Many listening clients, spread over both replicas of longpoll, whose polls are all held at the same moment."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from tests.testkit.deadlines import clock, until

from roots_devstack.stack import Stack

from .listener import Listener
from .metrics import value

REPLICAS = ("longpoll-1", "longpoll-2")
BEGINNINGS_AT_ONCE = 50
HELD_WITHIN_SECONDS = 30.0


class Crowd:
    """`count` clients, of which every other one polls the same replica. Use as an asynchronous context manager."""

    def __init__(self, stack: Stack, count: int) -> None:
        self._admins = [str(stack.processes[name].admin_url) for name in REPLICAS]
        urls = [str(stack.processes[name].url) for name in REPLICAS]
        self.clients = [Listener(urls[number % len(urls)], stack.url) for number in range(count)]

    async def __aenter__(self) -> Self:
        for client in self.clients:
            await client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for client in self.clients:
            await client.__aexit__(*error)

    async def begin(self, path: str, connect: Callable[[Listener], Awaitable[None]]) -> None:
        """Have `connect` grant `path` to each of them, and each be told of it."""
        slots = asyncio.Semaphore(BEGINNINGS_AT_ONCE)

        async def begin(client: Listener) -> None:
            async with slots:
                await client.poll()
                await connect(client)
                await client.poll_until(lambda: (path, "") in client.updates)

        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(begin(client))

    async def hear(self, update: tuple[str, str]) -> list[asyncio.Task[float]]:
        """Return, once all polls are held, tasks that end when their clients have heard `update`, at that moment."""

        async def hear(client: Listener) -> float:
            await client.poll_until(lambda: update in client.updates)
            return clock()

        hearing = [asyncio.create_task(hear(client)) for client in self.clients]
        await until(
            lambda: sum(value(url, "roots_longpoll_polls_held") for url in self._admins) >= len(self.clients),
            HELD_WITHIN_SECONDS,
        )
        return hearing
