"""What one client may hear: the grant record, and how connecting and disconnecting change it. Nothing here does I/O.

`n` counts the record's changes, and each path keeps the number of its last one, so that longpoll can tell which of
them a client has not been told of yet. A new record does not begin at zero but at the number that its maker gives:
see `GrantStore` for why. Source: docs/protocol.md, Connecting.
"""

import math
from collections.abc import Collection

import msgspec

from roots_common.streams import StreamState
from roots_subscriptions.errors import TooManyPathsError

MAX_PATHS = 128
"""Paths that one client may hear, and withdrawn ones that its record remembers."""

LIFETIME_SECONDS = 3600
"""A record ends so long after the last connect or touch."""


class PathGrant(msgspec.Struct, frozen=True, kw_only=True):
    """One path that the client may hear.

    Units: from_seq is the last sequence of the event stream when granted, in the stream of `epoch` (milliseconds since
        1970, when it was created); since is the number of the change that granted it, n that of the change that
        confirmed it last; until is unix seconds, None for no end of its own.
    """

    from_seq: int = msgspec.field(name="from")
    epoch: int
    since: int
    n: int
    until: int | None = None


class GrantRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything granted to one uid.

    Shape: gone has the number of the change that withdrew each path, the newest MAX_PATHS.
    Units: expires is unix seconds.
    """

    subject: str | None = None
    n: int
    paths: dict[str, PathGrant] = {}
    gone: dict[str, int] = {}
    expires: int

    def is_live(self, now: float) -> bool:
        """Tell whether the record still counts at `now`."""
        return now < self.expires

    def is_half_over(self, now: float) -> bool:
        """Tell whether less than half of the lifetime is left at `now`."""
        return self.expires - now < LIFETIME_SECONDS / 2


def new_record(n: int) -> GrantRecord:
    """Return a record without paths, whose changes are counted from `n`; it expires until a path is connected."""
    return GrantRecord(n=n, expires=0)


def connected(record: GrantRecord, paths: Collection[str], *, head: StreamState, now: float) -> GrantRecord:
    """Return `record` with `paths` granted from `head` on, and alive for another lifetime.

    A path that is granted already keeps its start, and is confirmed to the client again.

    Errors: TooManyPathsError over MAX_PATHS in all.
    """
    n = record.n + 1
    granted = dict(record.paths)
    for path in paths:
        held = record.paths.get(path)
        if held is None:
            granted[path] = PathGrant(from_seq=head.last, epoch=head.epoch, since=n, n=n)
        else:
            granted[path] = msgspec.structs.replace(held, n=n)
    if len(granted) > MAX_PATHS:
        raise TooManyPathsError(held=len(record.paths), added=len(granted) - len(record.paths))
    gone = {path: number for path, number in record.gone.items() if path not in granted}
    return extended(msgspec.structs.replace(record, n=n, paths=granted, gone=gone), now=now)


def disconnected(record: GrantRecord, paths: Collection[str]) -> GrantRecord:
    """Return `record` with `paths` withdrawn; the same record when none of them was granted."""
    withdrawn = [path for path in paths if path in record.paths]
    if not withdrawn:
        return record
    n = record.n + 1
    kept = {path: grant for path, grant in record.paths.items() if path not in withdrawn}
    numbers = {**record.gone, **dict.fromkeys(withdrawn, n)}
    newest = sorted(numbers.items(), key=lambda item: item[1])[-MAX_PATHS:]
    return msgspec.structs.replace(record, n=n, paths=kept, gone=dict(newest))


def extended(record: GrantRecord, *, now: float) -> GrantRecord:
    """Return `record` alive for a whole lifetime from `now`; that is no change that a client is told of."""
    return msgspec.structs.replace(record, expires=math.ceil(now) + LIFETIME_SECONDS)
