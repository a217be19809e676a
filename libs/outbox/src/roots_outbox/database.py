"""The database that has an outbox, as the relay sees it, and the order in which its rows are published.

Every method of these interfaces raises one of `Database.errors` when the database fails. May import: roots, cornelius.
"""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cornelius.messages import RENDERINGS
from roots.contracts.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One committed event that the sink has not acknowledged yet."""

    id: int
    ordering_key: str
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What one step found.

    Shape: rows are the next to publish; locked are the ids of acknowledged rows that stay for now, since somebody else
        has locked them.
    """

    rows: list[Row]
    locked: list[int]


class Leadership(Protocol):
    """What one relay of many holds while it publishes."""

    async def try_acquire(self) -> bool:
        """Take the leadership if it is free; return whether this is now the leader."""

    async def watch(self, wake: Callable[[], None], confirm: Callable[[], None]) -> None:
        """Call `wake` when there may be new rows, and `confirm` while this leads; fail as soon as it does not."""

    async def close(self) -> None:
        """Let another relay lead."""


class Outbox(Protocol):
    """The table of the events that wait."""

    @property
    def keeps_refused(self) -> bool:
        """Whether there is a table for what is refused."""

    async def advance(self, acknowledged: Collection[int], *, held: Collection[str], limit: int) -> Advance:
        """Delete the rows with the ids `acknowledged`, which the sink has, and read the oldest that are left.

        Shape: at most `limit` rows, none of the ordering keys `held`.
        """

    async def refuse(self, reasons: Mapping[int, str]) -> None:
        """Move the rows with these ids to the table of what is refused, each with its reason."""

    async def close(self) -> None:
        """Close the connection."""


class Session(Protocol):
    """A connection for the work beside delivery."""

    @property
    def jobs(self) -> Sequence[Callable[[], Awaitable[float]]]:
        """More work to do now and then; each returns after how many seconds to run it again."""

    async def measure(self, limit: int) -> tuple[float | None, int]:
        """Return the age of the event that was committed first, None without one, and how many events wait.

        Units: the age in seconds. From `limit` on the extent of the ids stands for the number of events.
        """

    async def close(self) -> None:
        """Close the connection."""


class Database(Protocol):
    """Where an outbox is."""

    @property
    def name(self) -> str:
        """What it is called among the checks of the relay."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What is raised when the database fails; the relay then begins again."""

    def describe(self, error: BaseException) -> str:
        """Return what is wrong, for the operator."""

    async def open_leadership(self) -> Leadership:
        """Return a candidate with a connection of its own."""

    async def open_outbox(self) -> Outbox:
        """Return the outbox over a new connection."""

    async def open_session(self) -> Session:
        """Return a new connection for the work beside delivery."""


def batches(rows: Sequence[Row], limit: int) -> Iterator[list[Row]]:
    """Cut `rows` into batches of at most `limit` in which no ordering key occurs twice.

    The events of one batch are under way at the same time, and any of them may fail. Since none of them follows another
    of its key, a key's later event is never stored before an earlier one.
    """
    batch: list[Row] = []
    keys: set[str] = set()
    for row in rows:
        if row.ordering_key in keys or len(batch) == limit:
            yield batch
            batch, keys = [], set()
        batch.append(row)
        keys.add(row.ordering_key)
    if batch:
        yield batch


def superseded(rows: Sequence[Row]) -> Iterator[int]:
    """Yield the ids of those `rows` that render an object which a later one renders again, with no message between.

    The message of the later one has the state after both.
    """
    later: dict[str, set[bytes]] = {}
    for row in reversed(rows):
        rendered = later.setdefault(row.ordering_key, set())
        if row.event.path != RENDERINGS:
            rendered.clear()
        elif row.event.message in rendered:
            yield row.id
        else:
            rendered.add(row.event.message)
