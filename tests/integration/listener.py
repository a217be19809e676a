"""A listening client of the tests' own, which keeps everything that it hears in the order in which it hears it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from tests.testkit.deadlines import within

from .http_client import HttpConnection


@dataclass(slots=True)
class Listener:
    """One client: a uid, a position, and what it was told.

    Shape: poll_url is where polls go (a replica, or the gateway with its prefix), connect_url the origin that connects.
    """

    poll_url: str
    connect_url: str
    prefix: str = ""
    reconnect_with: str = ""
    updates: list[tuple[str, str]] = field(default_factory=list)
    gaps: list[dict[str, str]] = field(default_factory=list)
    uids: list[str] = field(default_factory=list)
    _connection: HttpConnection | None = None

    @property
    def uid(self) -> str:
        """The client's present uid."""
        return self.reconnect_with.partition("/")[0]

    async def __aenter__(self) -> Self:
        self._connection = HttpConnection(self.poll_url)
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._connection is not None:
            self._connection.close()

    async def poll(self) -> dict[str, Any]:
        """Poll once, take in the answer, and return it."""
        assert self._connection is not None
        answer = await self._connection.request("GET", f"{self.prefix}/{self.reconnect_with}")
        assert answer.status == 200, answer
        body: dict[str, Any] = answer.json
        self.reconnect_with = body["reconnectWith"]
        if not self.uids or self.uids[-1] != self.uid:
            self.uids.append(self.uid)
        self.updates += [(update["path"], update["message"]) for update in body["updates"]]
        self.gaps += body.get("gaps", [])
        return body

    async def connect(self, paths: list[str], app: str = "tasks") -> None:
        """Ask the back end to connect this client."""
        async with HttpConnection(self.connect_url) as connection:
            answer = await connection.request("POST", f"/{app}/connect/{self.uid}", paths)
        assert answer.status == 200, answer

    async def begin(self, paths: list[str]) -> None:
        """Become a client that hears `paths`, and has been told so."""
        await self.poll()
        await self.connect(paths)
        await self.poll_until(lambda: {(path, "") for path in paths} <= set(self.updates))

    async def poll_until(self, is_done: Callable[[], bool], seconds: float = 30.0) -> None:
        """Poll until `is_done`. Errors: TimeoutError."""
        async with within(seconds):
            while not is_done():
                await self.poll()

    def messages(self, path: str = "tasks") -> list[Any]:
        """Return what was heard on `path`, confirmations left out."""
        return [json.loads(message) for heard, message in self.updates if heard == path and message]
