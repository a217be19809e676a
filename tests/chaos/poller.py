"""One client's polls: each is made, timed, and kept with its answer; failures are counted and lead to another way."""

import asyncio
import contextlib
import random
import time

from tests.integration.http_client import HttpConnection

from .backoff import Backoff
from .history import Answer, ClientHistory
from .notes import Notes
from .protocol import Body, parse_body, parse_position
from .routes import Route, Routes

# The hold and a generous rest: what hangs for longer is asked again elsewhere.
POLL_SECONDS = 30.0
# The gateway can't reach a replica, a replica can't answer now, or a request came to it too slowly.
AWAY = (408, 502, 503, 504)
CHANGE_ROUTE_AFTER_FAILURE = 0.5


class Poller:
    """Polls for one client. Shape: counts has the answers by status, and failures by the name of their error."""

    def __init__(self, history: ClientHistory, routes: Routes, chance: random.Random, notes: Notes) -> None:
        self.route = routes.choose(chance)
        self._history = history
        self._routes = routes
        self._chance = chance
        self._notes = notes
        self._backoff = Backoff(chance)
        self._connections: dict[str, HttpConnection] = {}

    def close(self) -> None:
        """End all connections."""
        for connection in self._connections.values():
            connection.close()

    def change_route(self) -> None:
        """Poll another way from now on."""
        self.route = self._routes.choose(self._chance)

    async def poll(self, uid: str, cursor: str) -> Body | None:
        """Poll once the usual way; None after a failure, when it is time to try again."""
        connection = self._connections.get(self.route.name)
        if connection is None:
            connection = self._connections[self.route.name] = HttpConnection(self.route.url)
        body, retry_after = await self._ask(connection, self.route, uid, cursor)
        if body is not None:
            self._backoff.reset()
            return body
        if self._chance.random() < CHANGE_ROUTE_AFTER_FAILURE:
            self.change_route()
        await asyncio.sleep(self._backoff.next(retry_after))
        return None

    async def poll_aside(self, uid: str, cursor: str) -> Body | None:
        """Poll once on a connection of its own, any way."""
        route = self._routes.choose(self._chance)
        async with HttpConnection(route.url) as connection:
            return (await self._ask(connection, route, uid, cursor))[0]

    async def abandon(self, uid: str, cursor: str, seconds: float) -> None:
        """Poll, and go away before the answer, or just as it comes; what it says is thrown away."""
        route = self.route
        async with HttpConnection(route.url) as connection:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(seconds):
                    await connection.request("GET", _target(route, uid, cursor))
        self._notes.count("abandoned")

    async def _ask(self, connection: HttpConnection, route: Route, uid: str, cursor: str) -> tuple[Body | None, float]:
        sent_at = time.monotonic()
        try:
            async with asyncio.timeout(POLL_SECONDS):
                answer = await connection.request("GET", _target(route, uid, cursor))
        except (OSError, TimeoutError) as error:
            self._notes.count(type(error).__name__)
            return None, 0.0
        self._notes.count(str(answer.status))
        if answer.status != 200:
            if answer.status not in AWAY:
                self._notes.unexpected.append(f"{route.name} answered {answer}")
            return None, float(answer.headers.get("retry-after", "0"))
        try:
            body = parse_body(answer.body)
        except (ValueError, KeyError):
            self._notes.unexpected.append(f"{route.name} answered {answer.body[:200]!r}")
            return None, 0.0
        self._history.answers.append(
            Answer(
                client=self._history.number,
                via=route.name,
                uid=uid,
                sent=parse_position(cursor) if cursor else None,
                sent_at=sent_at,
                got_at=time.monotonic(),
                new_uid=body.uid,
                position=body.position,
                updates=body.updates,
                gaps=body.gaps,
                is_slow=route.is_slow,
            )
        )
        return body, 0.0


def _target(route: Route, uid: str, cursor: str) -> str:
    return f"{route.prefix}/{uid}/{cursor}" if uid else f"{route.prefix}/"
