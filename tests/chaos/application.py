"""The application of one's own, as the harness uses it: it takes rights away, and shows what it has committed."""

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import psycopg
from tests.testkit.deadlines import until

from cornelius.messages import REVOCATIONS

from .application_processes import WRITER
from .application_writer import INSERT
from .history import Change
from .processes import Processes

ROOM = "rooms/"
RETRY_SECONDS = 0.1
CONNECT_SECONDS = 2
# For a statement and its tries, and for the relays to publish what waits.
DONE_SECONDS = 60.0

_WRITING = "SELECT FROM pg_stat_activity WHERE application_name = %(name)s"
_WAITING = "SELECT FROM roots.outbox LIMIT 1"
_LAST = "SELECT max(id) FROM roots.outbox"
_WAITING_UP_TO = "SELECT FROM roots.outbox WHERE id <= %(last)s LIMIT 1"
_REVOKING = "SELECT FROM roots.outbox WHERE path = %(path)s LIMIT 1"
_REVOKE = "SELECT roots.revoke(uid => %(uid)s, path => %(path)s)"
_CHANGES = "SELECT id, room, version, mark, is_deletion FROM journal ORDER BY id, version"


class Application:
    """The running application. What Postgres fails is tried again, since faults hit it. Errors: TimeoutError."""

    def __init__(self, processes: Processes, database_url: str) -> None:
        self._processes = processes
        self._url = database_url

    async def catch_up(self) -> None:
        """Change a row, and return once the relays have published that, and what was committed before."""
        await self._insert(0)
        ((last,),) = await self._run(_LAST, {})
        await self._wait_for_none(_WAITING_UP_TO, {"last": last})

    async def finish(self) -> None:
        """End the writers, and return once the relays have published everything."""
        await asyncio.gather(*(self._processes.stop(name) for name in self._processes.names(WRITER)))
        await self._wait_for_none(_WRITING, {"name": WRITER})
        await self._wait_for_none(_WAITING, {})

    async def read_changes(self) -> list[Change]:
        """Return every change that was committed, those of a row in their order."""
        return [
            Change(row=row, path=f"{ROOM}{room}", version=version, mark=mark, is_deletion=is_deletion)
            for row, room, version, mark, is_deletion in await self._run(_CHANGES, {})
        ]

    async def kick(self, uid: str, path: str) -> str:
        """Take a room from a client, then add a row there; return the mark of that once Roots has the revocation."""
        await self._run(_REVOKE, {"uid": uid, "path": path})
        mark = await self._insert(int(path.removeprefix(ROOM)))
        await self._wait_for_none(_REVOKING, {"path": REVOCATIONS})
        return mark

    async def _insert(self, room: int) -> str:
        """Add a row to a room, and return its mark."""
        mark = uuid.uuid4().hex
        await self._run(INSERT, {"room": room, "mark": mark, "count": 1})
        return mark

    async def _wait_for_none(self, query: str, values: Mapping[str, object]) -> None:
        async def is_none() -> bool:
            return not await self._run(query, values)

        await until(is_none, DONE_SECONDS)

    async def _run(self, statement: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run a statement in a transaction of its own, and return its rows; more than once when its end is unknown."""
        async with asyncio.timeout(DONE_SECONDS):
            while True:
                try:
                    async with await psycopg.AsyncConnection.connect(
                        self._url, connect_timeout=CONNECT_SECONDS
                    ) as connection:
                        cursor = await connection.execute(statement.encode(), values)
                        return await cursor.fetchall() if cursor.description is not None else []
                except (psycopg.Error, OSError):
                    await asyncio.sleep(RETRY_SECONDS)
