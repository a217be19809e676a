"""A little of everything that users and back ends do, so that every figure of every service moves."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from tests.integration.http_client import HttpConnection

from roots_devstack.stack import Stack

LISTENERS = 30
WRITES_PER_SECOND = 20.0


@asynccontextmanager
async def under_load(
    stack: Stack, home: Path, *, listeners: int = LISTENERS, writes_per_second: float = WRITES_PER_SECOND
) -> AsyncIterator[None]:
    """Run the load for as long as the block runs; `home` is the stack's folder.

    Whatever is answered is taken, so that parts may be broken meanwhile.
    """
    load = _Load(stack, home, 1 / writes_per_second)
    async with asyncio.TaskGroup() as group:
        works = [load.write, load.visit, load.publish, load.come_back, load.wait, *[load.listen] * listeners]
        tasks = [group.create_task(work()) for work in works]
        yield
        for task in tasks:
            task.cancel()


class _Load:
    def __init__(self, stack: Stack, home: Path, pause_seconds: float) -> None:
        self._url = stack.url
        self._backend_api_url = str(stack.processes["subscriptions"].backend_api_url)
        self._key = (home / "secrets" / "backend-todos").read_text(encoding="utf-8").strip()
        self._pause_seconds = pause_seconds

    async def listen(self) -> None:
        """Hear every change, as a page does."""
        await self._hear(["tasks"], 0.0)

    async def come_back(self) -> None:
        """Be away while things happen, and find them at the next poll."""
        await self._hear(["tasks"], self._pause_seconds * 6)

    async def wait(self) -> None:
        """Hear nothing, poll after poll."""
        await self._hear([], 0.0)

    async def write(self) -> None:
        """Change tasks in every way."""
        async with HttpConnection(self._url) as connection:
            for number in itertools.count():
                created = await connection.request("POST", "/tasks", {"description": f"task {number}"})
                place = created.headers["location"]
                await connection.request("PUT", place, {"description": "done"}, {"If-Match": created.headers["etag"]})
                await connection.request("GET", "/tasks")
                await connection.request("DELETE", place, None, {"If-Match": "*"})
                await asyncio.sleep(self._pause_seconds * 3)

    async def visit(self) -> None:
        """Come, ask for paths of which the policy refuses one, go, and be revoked."""
        asks = (("connect", ["tasks", "secret"]), ("disconnect", ["tasks"]), ("connect", ["tasks"]))
        async with HttpConnection(self._url) as connection:
            while True:
                uid = (await self._poll(connection, "")).partition("/")[0]
                for action, paths in asks:
                    await connection.request("POST", f"/tasks/{action}/{uid}", paths)
                await self._at_the_api("DELETE", f"/v1/clients/{uid}")
                await asyncio.sleep(self._pause_seconds * 4)

    async def publish(self) -> None:
        """Publish as a back end does, and once without a key that is known."""
        for number in itertools.count():
            message = {"path": "news", "message": str(number)}
            await self._at_the_api("POST", "/v1/publish", [message], key=self._key if number else "wrong")
            await asyncio.sleep(self._pause_seconds * 4)

    async def _hear(self, paths: list[str], pause_seconds: float) -> None:
        async with HttpConnection(self._url) as connection:
            reconnect_with = await self._poll(connection, "")
            if paths:
                uid = reconnect_with.partition("/")[0]
                await connection.request("POST", f"/tasks/connect/{uid}", paths)
            while True:
                reconnect_with = await self._poll(connection, reconnect_with)
                await asyncio.sleep(pause_seconds)

    async def _poll(self, connection: HttpConnection, reconnect_with: str) -> str:
        """Return what the next poll has to be made with; a refused one is made again after the time that it names."""
        while True:
            answer = await connection.request("GET", f"/comet/{reconnect_with}")
            if answer.status == HTTPStatus.OK:
                return str(answer.json["reconnectWith"])
            await asyncio.sleep(float(answer.headers.get("retry-after", "1")))

    async def _at_the_api(self, method: str, target: str, body: object = None, key: str | None = None) -> None:
        async with HttpConnection(self._backend_api_url) as connection:
            await connection.request(method, target, body, {"Authorization": f"Bearer {key or self._key}"})
