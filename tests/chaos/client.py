"""One listening client that behaves as clients do, and as they should not.

It follows the protocol as the browser library does: it acknowledges by polling again, connects its paths whenever its
uid changes, waits as it is told. Beside that it pauses, changes replica, asks again with an old cursor, polls twice at
once, gives polls up, begins anew, and connects and disconnects paths while a poll is held.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

from .broker_users import RecordReader
from .chance import source
from .connector import Connector
from .history import ClientHistory
from .notes import Notes
from .poller import Poller
from .protocol import Body
from .routes import Routes
from .settings import MAX_PATHS, PATHS, ROOM_PATHS, TASKS_PATH

# How often, on average, a client does something odd, and changes what it hears.
ODD_SECONDS = 5.0
CHANGE_SECONDS = 15.0
PAUSE_SECONDS = (0.5, 10.0)
ABANDON_SECONDS = 2.0
REMEMBERED_CURSORS = 30
HEARS_TASKS = 0.25
CONFIRMS_AGAIN = 0.3
MAX_KEPT = 2
GRANTED_ANEW = 0.2
ODDITIES = {"pause": 4, "route": 6, "old": 5, "twice": 5, "abandon": 5, "anew": 1}


class Client:
    """One client, from its first poll until it has caught up with the log's end."""

    def __init__(self, number: int, routes: Routes, reader: RecordReader, seed: int, notes: Notes) -> None:
        self.history = ClientHistory(number)
        chance = source(seed, f"client {number}")
        self._chance = chance
        self._poller = Poller(self.history, routes, chance, notes)
        urls = (routes.gateway_url, routes.proxied_gateway_url)
        self._connector = Connector(self.history, urls, reader, source(seed, f"connector {number}"), notes)
        self._notes = notes
        self._uid = ""
        self._cursor = ""
        self._past: deque[str] = deque(maxlen=REMEMBERED_CURSORS)
        self._paths = _some_paths(chance)
        self._connected_uid = ""
        self._is_renewed = asyncio.Event()
        self._is_calm = False
        self._end: int | None = None

    async def listen(self) -> None:
        """Poll until `finish` was called and the end that it names is reached."""
        odd_at = self._soon(ODD_SECONDS)
        now = asyncio.get_running_loop().time
        try:
            while not self._is_done():
                if self._uid and not self._is_calm and now() >= odd_at:
                    odd_at = self._soon(ODD_SECONDS)
                    await self._be_odd()
                else:
                    await self._take(await self._poller.poll(self._uid, self._cursor))
        finally:
            self._poller.close()

    async def change_paths(self) -> None:
        """Connect the paths of each new uid, and change them now and then; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._chance.expovariate(1 / CHANGE_SECONDS)):
                    await self._is_renewed.wait()
            except TimeoutError:
                if self._connected_uid and not self._is_calm:
                    await self._change()
            else:
                await self._connect_all()

    @property
    def rooms(self) -> list[str]:
        """The paths of the application that it receives."""
        return sorted(self._paths & set(ROOM_PATHS)) if self._connected_uid else []

    async def be_kicked(self, kick: Callable[[str, str], Awaitable[str]]) -> None:
        """Let `kick` take one of its rooms from it; it may ask for the room again when it changes its paths."""
        uid, path = self._connected_uid, self._chance.choice(self.rooms)
        self._paths = self._paths - {path}
        await self._connector.lose(uid, {path}, lambda: kick(uid, path))
        self._notes.count("kick")

    def calm(self) -> None:
        """Do nothing odd any more, and change no paths."""
        self._is_calm = True

    def finish(self, end: int) -> None:
        """Let `listen` return once the client's cursor has reached `end`."""
        self._end = end

    def _is_done(self) -> bool:
        """Tell whether the newest answer reached the end, and knew of the newest change of the grants."""
        if self._end is None or self._uid != self._connected_uid or self._connector.is_busy:
            return False
        newest = self.history.answers[-1]
        n = max((record.n for record in self.history.records if record.uid == self._uid), default=0)
        return newest.new_uid == self._uid and newest.position.seq >= self._end and newest.position.grants >= n

    async def _take(self, body: Body | None) -> None:
        if body is None:
            return
        if body.uid != self._uid:
            self._past.clear()
            self._uid = body.uid
            self._is_renewed.set()
        self._past.append(body.cursor)
        self._cursor = body.cursor
        if body.retry_seconds:
            await asyncio.sleep(body.retry_seconds)

    async def _be_odd(self) -> None:
        oddity = self._chance.choices(list(ODDITIES), list(ODDITIES.values()))[0]
        self._notes.count(f"odd: {oddity}")
        if oddity == "pause":
            await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))
        elif oddity == "route":
            self._poller.change_route()
        elif oddity == "old":
            await self._ask_old_cursor()
        elif oddity == "twice":
            await self._poll_twice()
        elif oddity == "abandon":
            await self._poller.abandon(self._uid, self._cursor, self._chance.uniform(0, ABANDON_SECONDS))
        else:
            self._uid = self._cursor = ""
            self._past.clear()

    async def _ask_old_cursor(self) -> None:
        """Ask for what was answered already; go on from there, or from the newest cursor."""
        body = await self._poller.poll(self._uid, self._chance.choice(self._past))
        if self._chance.random() < 0.5:
            await self._take(body)

    async def _poll_twice(self) -> None:
        """Poll with one cursor two ways at once, and go on from either answer."""
        bodies = await asyncio.gather(
            self._poller.poll(self._uid, self._cursor), self._poller.poll_aside(self._uid, self._cursor)
        )
        answered = [body for body in bodies if body is not None]
        if answered:
            await self._take(self._chance.choice(answered))

    async def _connect_all(self) -> None:
        self._is_renewed.clear()
        uid = self._uid
        if uid:
            await self._connector.connect(uid, self._paths)
            self._connected_uid = uid

    async def _change(self) -> None:
        """Disconnect some paths and connect others."""
        uid = self._connected_uid
        kept = set(self._chance.sample(sorted(self._paths), min(MAX_KEPT, len(self._paths))))
        wanted = kept | _some_paths(self._chance, MAX_PATHS - len(kept))
        gone, new = self._paths - wanted, wanted - self._paths
        if self._chance.random() < CONFIRMS_AGAIN:
            new = wanted
        self._paths = wanted
        if self._chance.random() < GRANTED_ANEW:
            # Withdrawn and granted again within a moment: each time from then on.
            gone, new = gone | kept, new | kept
        if gone:
            await self._connector.disconnect(uid, gone)
        # A client that has begun anew meanwhile connects all of its paths anyway.
        if new and uid == self._uid:
            await self._connector.connect(uid, new)

    def _soon(self, mean_seconds: float) -> float:
        return asyncio.get_running_loop().time() + self._chance.expovariate(1 / mean_seconds)


def _some_paths(chance: random.Random, most: int = MAX_PATHS) -> set[str]:
    hears_tasks = chance.random() < HEARS_TASKS
    paths = set(chance.sample(PATHS, chance.randint(1, most) - hears_tasks))
    return paths | {TASKS_PATH} if hears_tasks else paths
