"""What happened in one run, as the checker reads it: answers, grant records, writes, faults, and the log itself.

Pure data. Units: every `_at` is seconds of this process's monotonic clock.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Path = str
Uid = str
Outcome = Literal["acknowledged", "refused", "unknown"]


class Position(NamedTuple):
    """A parsed cursor: the log's epoch, the position in it, and the number of the last grant change that was told."""

    epoch: int
    seq: int
    grants: int


class Update(NamedTuple):
    """One update of an answer."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One poll that was answered with 200.

    Shape: sent is None for a first poll, and uid is then empty; via names the way that the poll took; is_slow tells
        that the way reads answers slowly, so that got_at says little about when the answer was written.
    """

    client: int
    via: str
    uid: Uid
    sent: Position | None
    sent_at: float
    got_at: float
    new_uid: Uid
    position: Position
    updates: tuple[Update, ...]
    gaps: tuple[tuple[Path, str], ...] = ()
    is_slow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PathGrant:
    """One path of a grant record: granted by change `since`, confirmed last by change `n`, heard after `start`."""

    start: int
    since: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A grant record, as it was read after a change."""

    uid: Uid
    n: int
    paths: dict[Path, PathGrant]
    gone: dict[Path, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A path that was withdrawn by change `n`, answered with 200; asked_at is when it was first asked for.

    Shape: then is a part of a message that was written on the path after the application had taken it away, empty when
        the client has given it back itself.
    """

    uid: Uid
    path: Path
    n: int
    asked_at: float
    answered_at: float
    then: str = ""


@dataclass(slots=True)
class ClientHistory:
    """Everything that one client saw."""

    number: int
    answers: list[Answer] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    withdrawals: list[Withdrawal] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One message of the event stream. `stored_at` is when JetStream stored it."""

    seq: int
    path: Path
    message: str
    event_id: str
    stored_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One event that was published over NATS; seq is where the broker says that it is, None without its word."""

    path: Path
    message: str
    event_id: str
    seq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWrite:
    """One write over REST, with all its retries.

    Shape: mark is the description that no other write has, empty for one that leaves the description alone. content is
        the task as the acknowledgement has it; None for a delete. `refused` means that no try can have been committed.
    """

    method: str
    guid: str
    mark: str
    outcome: Outcome
    content: dict[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """One task in Postgres at the end."""

    guid: str
    description: str
    is_done: bool
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a row that the application of one's own has committed. Shape: a row's versions are 1, 2, 3, ..."""

    row: int
    path: Path
    version: int
    mark: str
    is_deletion: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: it began, it was over (thawed, started again), and the processes that it hit were ready again."""

    kind: str
    target: str
    began_at: float
    over_at: float
    ready_at: float


class Stall(NamedTuple):
    """A time in which this process did nothing: what came meanwhile was seen at its end."""

    began_at: float
    ended_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One run.

    Shape: events ascend by sequence and are all that the stream holds; end is its last sequence. changes are in the
        order of their versions for each row; None without an application of one's own.
    """

    clients: list[ClientHistory]
    published: list[Published]
    task_writes: list[TaskWrite]
    events: list[Event]
    end: int
    rows: list[TaskRow]
    faults: list[Fault]
    stalls: list[Stall] = field(default_factory=list)
    changes: list[Change] | None = None
