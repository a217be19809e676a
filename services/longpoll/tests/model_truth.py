"""What is true in the model: every log of the stream, every version of every record, and the time.

Replicas learn of it late, and clients are told of it; what they say is compared with this.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from roots_longpoll.delivery.ring import Event

from .dispatcher_support import EPOCH, FAR_FUTURE, event, grant, record

PATHS = ("a", "b")
DISCONNECT = "::+::disconnect"
NO_PATH = "?"
"""In place of a path: a message that is no event, which nobody can receive."""
LARGE = 150
"""Characters of a message that fills an answer with its like."""


class Place(NamedTuple):
    """An event, or a position in one of the logs."""

    epoch: int
    seq: int


Heard = frozenset[Place]


@dataclass
class Clock:
    """The time, in seconds; it moves when the test moves it."""

    now: float = 0.0

    def time(self) -> float:
        """Return the time."""
        return self.now


class Granted(NamedTuple):
    """One path of a record; see `grants.PathGrant`."""

    start: int
    epoch: int
    since: int
    n: int
    until: float

    def start_in(self, epoch: int) -> int | None:
        """Return the sequence after which the path may be received in the log of `epoch`, None if not at all."""
        return self.start if self.epoch == epoch else 0 if self.epoch < epoch else None


@dataclass(frozen=True)
class Version:
    """A record after one of its changes. Shape: gone has the number of the change that withdrew each path."""

    paths: dict[str, Granted] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)

    def live(self, now: float) -> dict[str, Granted]:
        """Return the paths that have not ended at `now`."""
        return {path: one for path, one in self.paths.items() if now < one.until}

    def changes(self, acked: int, now: float) -> set[tuple[int, str, str]]:
        """Return (number, path, message) of the updates that tell of the changes after `acked`."""
        confirmed = {(one.n, path, "") for path, one in self.live(now).items() if one.n > acked}
        return confirmed | {(n, DISCONNECT, path) for path, n in self.gone.items() if n > acked}


@dataclass
class Account:
    """One uid. Shape: versions by number, 0 before the first; ends counts how often a record of it has ended."""

    n: int = 0
    revision: int = 0
    expires: float = 0.0
    ends: int = 0
    versions: dict[int, Version] = field(default_factory=lambda: {0: Version()})

    @property
    def version(self) -> Version:
        """The latest version."""
        return self.versions[self.n]

    @property
    def raw(self) -> bytes:
        """The record as it is stored; empty when there is none, or the mark of one that was deleted."""
        if not self.expires:
            return b""
        paths = {
            path: grant(one.start, one.n, since=one.since, epoch=one.epoch, until=one.until)
            for path, one in self.version.paths.items()
        }
        return record(self.n, paths, gone=self.version.gone, expires=self.expires)


@dataclass
class Log:
    """The stream as it was created once; what is below `first` is gone from it."""

    events: list[Event] = field(default_factory=list)
    first: int = 1

    @property
    def head(self) -> int:
        """The last sequence."""
        return len(self.events)

    def between(self, after: int, upto: int) -> list[Event]:
        """Return what is still there after `after`, up to `upto`."""
        return self.events[max(after, self.first - 1) : upto]


class Truth:
    """The stream and the records."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.epoch = EPOCH
        self.logs = {EPOCH: Log()}
        self.accounts: dict[bytes, Account] = {}
        self._revision = 0

    @property
    def log(self) -> Log:
        """The log of the present."""
        return self.logs[self.epoch]

    def publish(self, path: str, *, is_large: bool) -> Event:
        """Store an event whose message begins with its sequence, or a message that is no event."""
        log = self.log
        seq = log.head + 1
        log.events.append(event(seq, path, f"{seq}{'.' * LARGE if is_large else ''}"))
        return log.events[-1]

    def begin_anew(self) -> None:
        """Delete the stream and create it again."""
        self.epoch += 1
        self.logs[self.epoch] = Log()

    def is_live(self, account: Account) -> bool:
        """Tell whether there is a record, and it counts."""
        return self.clock.now < account.expires

    def connect(self, uid: bytes, paths: tuple[str, ...], lifetime: float | None) -> None:
        """Grant paths from now on, perhaps for a time; confirm those that are granted already."""
        account = self.accounts[uid]
        is_new = not self.is_live(account)
        before = Version() if is_new else account.version
        # A new record counts from the bucket's last sequence, so above all numbers that the uid has seen.
        n = max(self._revision, account.n) + 1 if is_new else account.n + 1
        until = FAR_FUTURE if lifetime is None else self.clock.now + lifetime
        live = before.live(self.clock.now)
        granted = dict(before.paths)
        for path in paths:
            held = live.get(path)
            fresh = Granted(self.log.head, self.epoch, n, n, until)
            granted[path] = fresh if held is None else held._replace(n=n)
        if is_new and account.n:
            account.ends += 1
        gone = {path: number for path, number in before.gone.items() if path not in paths}
        self._store(account, n, Version(granted, gone), FAR_FUTURE)

    def disconnect(self, uid: bytes, paths: tuple[str, ...]) -> None:
        """Withdraw those of the paths that are granted."""
        account = self.accounts[uid]
        before = account.version
        withdrawn = set(paths) & set(before.paths) if self.is_live(account) else set()
        if withdrawn:
            n = account.n + 1
            kept = {path: one for path, one in before.paths.items() if path not in withdrawn}
            self._store(account, n, Version(kept, {**before.gone, **dict.fromkeys(withdrawn, n)}), account.expires)

    def touch(self, uid: bytes, lifetime: float) -> None:
        """Let a record live for so long from now on."""
        account = self.accounts[uid]
        if self.is_live(account):
            self._store(account, account.n, account.version, self.clock.now + lifetime)

    def delete(self, uid: bytes) -> None:
        """Delete a record."""
        account = self.accounts[uid]
        if self.is_live(account):
            account.ends += 1
            self._store(account, account.n, account.version, 0.0)

    def _store(self, account: Account, n: int, version: Version, expires: float) -> None:
        self._revision += 1
        account.n, account.revision, account.expires = n, self._revision, expires
        account.versions[n] = version

    def owed(self, version: Version, upto: Place, paths: set[str] | None = None) -> Heard:
        """Return what a client with `version` (of `paths` only) has to have learned of once its position is `upto`."""
        starts = {path: one.start_in(upto.epoch) for path, one in version.live(self.clock.now).items()}
        return frozenset(
            Place(upto.epoch, one.seq)
            for one in self.logs[upto.epoch].events[: upto.seq]
            if (start := starts.get(one.path)) is not None and one.seq > start and (paths is None or one.path in paths)
        )
