"""Honest users, who connect, and change and list tasks while somebody attacks, and how long each request takes."""

import asyncio
import math
from dataclasses import dataclass, field

from tests.integration.http_client import HttpConnection
from tests.testkit.deadlines import clock

_PAUSE_SECONDS = 0.02


@dataclass(slots=True)
class Honest:
    """One user who connects and changes tasks, and one at the address `reader` who lists them; None for no such user.

    Shape: waits and list_waits are seconds from opening a connection to the answer's end; failures are descriptions.
    """

    connect_url: str
    tasks_url: str
    probe_urls: list[str]
    uid: str
    reader: str | None = None
    waits: list[float] = field(default_factory=list)
    list_waits: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def work(self, seconds: float) -> None:
        """Ask again and again for `seconds`, each time on a new connection."""
        ends_at = clock() + seconds
        async with asyncio.TaskGroup() as group:
            group.create_task(self._change(ends_at))
            if self.reader is not None:
                group.create_task(self._list(ends_at, self.reader))

    async def _change(self, ends_at: float) -> None:
        while clock() < ends_at:
            self.waits += [
                await self._ask(self.connect_url, "POST", f"/tasks/connect/{self.uid}", ["tasks"], 200),
                await self._ask(self.tasks_url, "POST", "/tasks", {"description": "honest"}, 201),
                *[await self._ask(url, "GET", "/readyz", None, 200) for url in self.probe_urls],
            ]
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _list(self, ends_at: float, source: str) -> None:
        while clock() < ends_at:
            self.list_waits.append(await self._ask(self.tasks_url, "GET", "/tasks", None, 200, source))
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(
        self, url: str, method: str, target: str, body: object, expected: int, source: str | None = None
    ) -> float:
        """Ask once, and return how long that took."""
        began = clock()
        try:
            async with HttpConnection(url, source=source) as connection:
                answer = await connection.request(method, target, body)
            if answer.status != expected:
                self.failures.append(f"{method} {target}: {answer.status} {answer.body[:200]!r}")
        except (OSError, TimeoutError) as error:
            self.failures.append(f"{method} {target}: {error!r}")
        return clock() - began

    @property
    def summary(self) -> str:
        """How many requests there were, how many failed, and their p99."""
        lists = f"; {len(self.list_waits)} lists, p99 {_p99(self.list_waits):.3f} s" if self.list_waits else ""
        return f"{len(self.waits)} requests, p99 {self.p99_seconds:.3f} s{lists}; {len(self.failures)} failed"

    @property
    def p99_seconds(self) -> float:
        """What all requests but one in a hundred took at most, lists apart."""
        return _p99(self.waits)


def _p99(waits: list[float]) -> float:
    return sorted(waits)[math.ceil(len(waits) * 0.99) - 1]
