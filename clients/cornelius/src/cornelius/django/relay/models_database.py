"""The outbox in the tables of the app, in any database that Django has. Implements: roots_outbox.database.

Promises: the ids of one row's events follow the commits, since whoever changes the row holds its lock.
"""

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import Error, connections, transaction
from django.db.models import Max, Min, Q
from django.db.utils import ProgrammingError
from django.utils import timezone

from cornelius.django.models import Event, Lease, RefusedEvent
from roots.contracts.events import Event as PublishedEvent
from roots_outbox.database import Advance, Row

T = TypeVar("T")

# There is no notification of a commit.
POLL_SECONDS = 0.1
RENEWAL_SECONDS = 1.0
# Two relays at once would publish nothing twice, as the ids are the same. So clocks may differ.
LEASE_SECONDS = 3.0
# Every statement here touches at most a few hundred rows; one that takes longer hangs, or waits for a lock.
STATEMENT_SECONDS = 10.0
_FIELDS = ("event_id", "path", "ordering_key", "message", "committed_at")


class ConnectionThread:
    """A thread, and so a connection of its own to each database."""

    def __init__(self, max_seconds: float | None = STATEMENT_SECONDS) -> None:
        self._max_seconds = max_seconds
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="outbox")

    async def run(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Run `function` in the thread. Errors: TimeoutError, what `function` raises."""
        async with asyncio.timeout(self._max_seconds):
            return await asyncio.wrap_future(self._pool.submit(function, *arguments, **options))

    async def close(self) -> None:
        """Close the connections, and end the thread."""
        with suppress(TimeoutError, Error):
            await self.run(connections.close_all)
        self._pool.shutdown(wait=False)


@dataclass(frozen=True, slots=True)
class ModelsDatabase:
    """The outbox in the database `using`. It is a Database."""

    using: str
    name = "database"
    errors = (Error, OSError, TimeoutError)

    def describe(self, error: BaseException) -> str:
        """Return what is wrong, for the operator."""
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        hint = "; run: manage.py migrate" if isinstance(error, ProgrammingError) or "no such table" in reason else ""
        return f"the database {self.using!r} can't be used: {reason}{hint}"

    async def open_leadership(self) -> "ModelsLeadership":
        """Return a candidate with a connection of its own."""
        return ModelsLeadership(self.using)

    async def open_outbox(self) -> "ModelsOutbox":
        """Return the outbox over a new connection."""
        return ModelsOutbox(self.using)

    async def open_session(self) -> "ModelsSession":
        """Return a new connection for the work beside delivery."""
        return ModelsSession(self.using)


class ModelsLeadership:
    """A lease, which is renewed while this relay leads. It is a Leadership."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._holder = uuid.uuid4()
        self._thread = ConnectionThread()

    async def try_acquire(self) -> bool:
        """Take the lease if it is free or has ended; return whether this is now the leader."""
        return await self._thread.run(self._acquire)

    async def watch(self, wake: Callable[[], None], confirm: Callable[[], None]) -> None:
        """Call `wake` often, and `confirm` at each renewal; fail when another relay has the lease."""
        renewed_at = time.monotonic()
        while True:
            wake()
            await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() - renewed_at >= RENEWAL_SECONDS:
                if not await self.try_acquire():
                    raise TimeoutError("another relay took the lease")
                renewed_at = time.monotonic()
                confirm()

    async def close(self) -> None:
        """Let another relay lead."""
        with suppress(TimeoutError, Error):
            await self._thread.run(self._leases().filter(holder=self._holder).delete)
        await self._thread.close()

    def _leases(self) -> Any:
        return Lease._base_manager.using(self._using)  # noqa: SLF001  # documented by Django

    def _acquire(self) -> bool:
        now = timezone.now()
        given = {"holder": self._holder, "until": now + dt.timedelta(seconds=LEASE_SECONDS)}
        if self._leases().filter(Q(holder=self._holder) | Q(until__lt=now)).update(**given):
            return True
        _, is_created = self._leases().get_or_create(pk=1, defaults=given)
        return bool(is_created)


class ModelsOutbox:
    """The events that wait, over one connection. It is an Outbox."""

    keeps_refused = True

    def __init__(self, using: str) -> None:
        self._using = using
        self._thread = ConnectionThread()

    async def advance(self, acknowledged: Collection[int], *, held: Collection[str], limit: int) -> Advance:
        """Delete the rows with the ids `acknowledged`, which the sink has, and read the oldest that are left."""
        return Advance(rows=await self._thread.run(self._advance, acknowledged, held, limit), locked=[])

    async def refuse(self, reasons: Mapping[int, str]) -> None:
        """Move the rows with these ids to the table of what is refused, each with its reason."""
        await self._thread.run(self._refuse, reasons)

    async def close(self) -> None:
        """Close the connection."""
        await self._thread.close()

    def _advance(self, acknowledged: Collection[int], held: Collection[str], limit: int) -> list[Row]:
        events = Event._base_manager.using(self._using)  # noqa: SLF001  # documented by Django
        if acknowledged:
            events.filter(pk__in=acknowledged).delete()
        return [_row(event) for event in events.exclude(ordering_key__in=held).order_by("pk")[:limit]]

    def _refuse(self, reasons: Mapping[int, str]) -> None:
        events = Event._base_manager.using(self._using).filter(pk__in=reasons)  # noqa: SLF001
        with transaction.atomic(using=self._using):
            refused = [RefusedEvent(**_values(event), reason=reasons[event.pk]) for event in events.order_by("pk")]
            RefusedEvent._base_manager.using(self._using).bulk_create(refused)  # noqa: SLF001
            events.delete()


class ModelsSession:
    """A connection for the work beside delivery. It is a Session."""

    jobs: Sequence[Callable[[], Awaitable[float]]] = ()

    def __init__(self, using: str) -> None:
        self._using = using
        self._thread = ConnectionThread()

    async def measure(self, limit: int) -> tuple[float | None, int]:
        """Return the age of the event that was committed first, and how many events wait."""
        return await self._thread.run(measure, self._using, limit)

    async def close(self) -> None:
        """Close the connection."""
        await self._thread.close()


def measure(using: str, limit: int) -> tuple[float | None, int]:
    """Return the age of the event that was committed first, None without one, and how many events wait.

    Shape: from `limit` on the extent of their ids stands for their number.
    """
    events = Event._base_manager.using(using).order_by("pk")  # noqa: SLF001  # documented by Django
    first = events.first()
    if first is None:
        return None, 0
    age_seconds = max((timezone.now() - first.committed_at).total_seconds(), 0.0)
    waiting = events[:limit].count()
    if waiting == limit:
        ids = events.aggregate(first=Min("pk"), last=Max("pk"))
        waiting = ids["last"] - ids["first"] + 1
    return age_seconds, waiting


def count_refused(using: str) -> int:
    """Return how many events were refused."""
    return RefusedEvent._base_manager.using(using).count()  # noqa: SLF001  # documented by Django


def retry(using: str) -> int:
    """Put what was refused back into the outbox, in its order; return how many events these are."""
    with transaction.atomic(using=using):
        refused = list(RefusedEvent._base_manager.using(using).order_by("pk"))  # noqa: SLF001
        Event._base_manager.using(using).bulk_create([Event(**_values(event)) for event in refused])  # noqa: SLF001
        RefusedEvent._base_manager.using(using).filter(pk__in=[event.pk for event in refused]).delete()  # noqa: SLF001
    return len(refused)


def _values(event: Event | RefusedEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in _FIELDS}


def _row(event: Event) -> Row:
    published = PublishedEvent(
        path=event.path,
        message=event.message.encode(),
        event_id=str(event.event_id),
        committed_ns=int(event.committed_at.timestamp() * 1_000_000) * 1000,
    )
    return Row(id=event.pk, ordering_key=event.ordering_key, event=published)
