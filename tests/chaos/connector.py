"""One client's paths: connects and disconnects them until it is answered, and reads the record that came of it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from tests.integration.http_client import Answer, HttpConnection

from .backoff import Backoff
from .broker_users import RecordReader
from .history import ClientHistory, Withdrawal
from .notes import Notes
from .settings import APP

REQUEST_SECONDS = 35.0
GONE = 410


class Connector:
    """Changes what one client may hear, one change at a time."""

    def __init__(
        self,
        history: ClientHistory,
        urls: tuple[str, ...],
        reader: RecordReader,
        chance: random.Random,
        notes: Notes,
    ) -> None:
        self._history = history
        self._urls = urls
        self._reader = reader
        self._chance = chance
        self._notes = notes
        self._lock = asyncio.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether a change is under way."""
        return self._lock.locked()

    async def connect(self, uid: str, paths: set[str]) -> None:
        """Grant `paths` to `uid`, and note the record."""
        async with self._lock:
            await self._ask("connect", uid, paths)
            await self._note(uid)

    async def disconnect(self, uid: str, paths: set[str]) -> None:
        """Withdraw `paths` from `uid`, and note the record and the moment."""

        async def ask() -> str:
            await self._ask("disconnect", uid, paths)
            return ""

        await self.lose(uid, paths, ask)

    async def lose(self, uid: str, paths: set[str], withdraw: Callable[[], Awaitable[str]]) -> None:
        """Let `withdraw` take `paths` from `uid`, and note the record, the moment, and what was written then."""
        async with self._lock:
            asked_at = time.monotonic()
            then = await withdraw()
            answered_at = time.monotonic()
            gone = await self._note(uid)
            self._history.withdrawals += [
                Withdrawal(uid=uid, path=path, n=gone[path], asked_at=asked_at, answered_at=answered_at, then=then)
                for path in paths & gone.keys()
            ]

    async def _ask(self, action: Literal["connect", "disconnect"], uid: str, paths: set[str]) -> None:
        backoff = Backoff(self._chance)
        while True:
            answer = await self._try(f"/{APP}/{action}/{uid}", paths)
            status = 0 if answer is None else answer.status
            self._notes.count(f"{action} {status or 'failed'}")
            if status == 200:
                return
            if answer is not None and 400 <= status < 500:
                self._notes.unexpected.append(f"{action} was answered {status}: {answer.body[:200]!r}")
                return
            retry_after = 0.0 if answer is None else float(answer.headers.get("retry-after", "0"))
            await asyncio.sleep(backoff.next(retry_after))

    async def _try(self, target: str, paths: set[str]) -> Answer | None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS), HttpConnection(self._chance.choice(self._urls)) as connection:
                return await connection.request("POST", target, sorted(paths))
        except (OSError, TimeoutError):
            return None

    async def _note(self, uid: str) -> dict[str, int]:
        record = await self._reader.read(uid)
        if record is None:
            return {}
        self._history.records.append(record)
        return record.gone
