"""An honest user, who connects and changes tasks while somebody attacks, and how long each request takes."""

import asyncio
import math
from dataclasses import dataclass, field

from tests.integration.http_client import HttpConnection
from tests.testkit.deadlines import clock

_PAUSE_SECONDS = 0.02


@dataclass(slots=True)
class Honest:
    """One user. Shape: waits are seconds from opening a connection to the answer's end; failures are descriptions."""

    connect_url: str
    tasks_url: str
    probe_urls: list[str]
    uid: str
    waits: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def work(self, seconds: float) -> None:
        """Ask again and again for `seconds`, each time on a new connection."""
        ends_at = clock() + seconds
        while clock() < ends_at:
            await self._ask(self.connect_url, "POST", f"/tasks/connect/{self.uid}", ["tasks"], 200)
            await self._ask(self.tasks_url, "POST", "/tasks", {"description": "honest"}, 201)
            for url in self.probe_urls:
                await self._ask(url, "GET", "/readyz", None, 200)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(self, url: str, method: str, target: str, body: object, expected: int) -> None:
        began = clock()
        try:
            async with HttpConnection(url) as connection:
                answer = await connection.request(method, target, body)
            if answer.status != expected:
                self.failures.append(f"{method} {target}: {answer.status} {answer.body[:200]!r}")
        except (OSError, TimeoutError) as error:
            self.failures.append(f"{method} {target}: {error!r}")
        self.waits.append(clock() - began)

    @property
    def summary(self) -> str:
        """How many requests there were, how many failed, and their p99."""
        return f"{len(self.waits)} requests, {len(self.failures)} failed, p99 {self.p99_seconds:.3f} s"

    @property
    def p99_seconds(self) -> float:
        """What all but one in a hundred waited at most."""
        return sorted(self.waits)[math.ceil(len(self.waits) * 0.99) - 1]
