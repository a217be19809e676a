"""A read-only view of the grants: which uid may receive which paths, since where, until when.

The view holds every record that changed lately or that a poll asked for; a change replaces the record at once. What is
not in the view is unknown, which is not the same as absent: the store has to be asked. The subscriptions service alone
writes records. Source: docs/protocol.md, Connecting.
"""

import enum
import math
import sys
from collections.abc import Collection
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET

from roots.contracts.grant_records import read_record
from roots.contracts.subjects import DISCONNECT_PATH
from roots_longpoll.delivery.cursor import base36
from roots_longpoll.delivery.ring import update_of

_MAX_PATH_SETS = 100_000
_decode_withdrawn = msgspec.json.Decoder(dict[str, int]).decode
NEVER = (1 << 64) - 1
"""A sequence that no event has."""


class PathGrant(msgspec.Struct, frozen=True, gc=False):
    """One path of a record, as far as delivery needs it.

    Units: from_seq is the event stream's last sequence when the path was granted, in the stream of `epoch`
        (milliseconds since 1970); since the version of the record that granted it, version that of the record that
        confirmed it last; until seconds since 1970, None for no end of its own.
    """

    from_seq: int
    version: int
    since: int
    epoch: int
    until: float | None


class Record(msgspec.Struct, frozen=True):
    """A grant record, as far as delivery needs it.

    Shape: withdrawn is JSON, from a path to the version that withdrew it: few clients ever ask, and 128 withdrawn paths
        take seven times as much memory when they are decoded. ended has those of them that ended by themselves.
    Units: expires is seconds since 1970.
    """

    version: int
    paths: dict[str, PathGrant]
    expires: float
    withdrawn: bytes
    ended: tuple[str, ...] = ()


class ClientGrants:
    """What one uid may receive; immutable, with what delivery needs of it computed once.

    Shape: paths is shared by all clients with the same paths, so it can be a key for work done once for all of them.
        report is the number of the last report of clients that were served which it is in, its only part that changes.
    Units: ends_at is seconds since 1970, when something of it ends; min_seq is the highest from_seq of its paths, epoch
        the newest log that one of them was granted in.
    """

    __slots__ = ("ends_at", "epoch", "min_seq", "paths", "record", "report", "revision", "version", "version_text")

    def __init__(self, record: Record, paths: tuple[str, ...], revision: int) -> None:
        self.record = record
        self.paths = paths
        self.revision = revision
        self.report = 0
        self.version = record.version
        self.version_text = base36(record.version)
        grants = [record.paths[path] for path in paths]
        self.min_seq = max((grant.from_seq for grant in grants), default=0)
        self.epoch = max((grant.epoch for grant in grants), default=0)
        self.ends_at = min([record.expires, *(grant.until for grant in grants if grant.until is not None)])

    def changes_after(self, acked: int) -> list[bytes]:
        """Return the updates for what changed after version `acked`: confirmations and withdrawals, in order."""
        if acked >= self.version:
            return []
        granted = self.record.paths
        changes = [(version, update_of(path, b"")) for path in self.paths if (version := granted[path].version) > acked]
        for path, version in _decode_withdrawn(self.record.withdrawn).items():
            if version > acked:
                changes.append((version, _withdrawal_of(path, is_end=path in self.record.ended)))
        changes.sort()
        return [update for _, update in changes]

    def starts(self, seq: int, acked: int, epoch: int, epoch_start: int = 0) -> list[tuple[str, int]]:
        """Return for each path the sequence after which a client at `seq`, with version `acked`, wants it.

        A path that the client does not know of yet is read from its grant on, even where the client's position is past
        it: events between the grant and the position were filtered while the path was not granted. A path granted in
        a newer log than `epoch` has no events in this one; one of an older log is received from `epoch_start` on.
        """
        starts = []
        for path in self.paths:
            grant = self.record.paths[path]
            granted_at = grant.from_seq
            if grant.epoch != epoch:
                granted_at = epoch_start if grant.epoch < epoch else NEVER
            starts.append((path, granted_at if acked < grant.since else max(seq, granted_at)))
        return starts


class Unknown(enum.Enum):
    """What the view returns for a uid of which it knows nothing; the store has to be asked."""

    UNKNOWN = enum.auto()


UNKNOWN: Final = Unknown.UNKNOWN
MaybeClient: TypeAlias = ClientGrants | None
"""A client, or None for a uid that has no record."""


class GrantsView:
    """Clients by uid; at most `capacity` of them, the least recently used go first.

    Two generations stand in for a list of uses: a full young one becomes the old one, and what is asked for moves back.
    """

    def __init__(self, capacity: int) -> None:
        self.times_voided = 0
        self.report = 1
        # Clients that polled since they were reported; each notes the number of the report that it is in.
        self._served: list[bytes] = []
        self._generation_size = max(1, capacity // 2)
        # A uid without a record stands as the revision of its deletion, so that an older record can't come back.
        self._young: dict[bytes, ClientGrants | int] = {}
        self._old: dict[bytes, ClientGrants | int] = {}
        self._path_sets: dict[tuple[str, ...], tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def recent(self, uid: bytes) -> ClientGrants | None:
        """Return the client when it is among those that were asked for lately, else None."""
        entry = self._young.get(uid)
        return entry if isinstance(entry, ClientGrants) else None

    def get(self, uid: bytes) -> MaybeClient | Unknown:
        """Return the client, None when it has no record, or UNKNOWN."""
        entry = self._entry(uid)
        return None if isinstance(entry, int) else entry

    def apply(self, uid: bytes, raw: bytes, revision: int) -> MaybeClient:
        """Take in the record `raw` (empty when deleted) of `revision`, unless a later one is known; return the latest.

        Errors: UnreadableRecordError for what is no record.
        """
        record = _slim(raw) if raw else None
        entry = self._entry(uid)
        if isinstance(entry, ClientGrants) and entry.revision >= revision:
            return entry
        if isinstance(entry, int) and entry >= revision:
            return None
        if record is None:
            self._put(uid, revision)
            return None
        client = ClientGrants(record, self._share(tuple(sorted(record.paths))), revision)
        self._put(uid, client)
        return client

    def note_absent(self, uid: bytes) -> MaybeClient:
        """Note that the store has no record of `uid`, unless one came meanwhile; return the latest."""
        known = self.get(uid)
        if known is UNKNOWN:
            self._put(uid, 0)
            return None
        return known

    def at(self, client: ClientGrants, now: float) -> MaybeClient:
        """Return what is left of `client` at `now` (seconds since 1970): the same, one with fewer paths, or None."""
        if now < client.ends_at:
            return client
        if now >= client.record.expires:
            return None
        granted = client.record.paths
        left = tuple(path for path in client.paths if now < (granted[path].until or math.inf))
        return ClientGrants(client.record, self._share(left), client.revision)

    def note_served(self, uid: bytes, client: ClientGrants) -> None:
        """Note that `uid` has polled; to be called when its grants are in an older report than the present one."""
        client.report = self.report
        self._served.append(uid)

    def take_served(self) -> set[bytes]:
        """Return the uids with a record that polled since the last call."""
        served, self._served = self._served, []
        self.report += 1
        return set(served)

    def void_reads(self) -> None:
        """Make records that were read from the store before this call, and not applied yet, of no use."""
        self.times_voided += 1

    def revisions(self) -> list[tuple[bytes, int]]:
        """Return each uid that is held to have a record, with the record's revision."""
        return [
            (uid, entry.revision)
            for generation in (self._young, self._old)
            for uid, entry in generation.items()
            if isinstance(entry, ClientGrants)
        ]

    def forget(self, uids: Collection[bytes]) -> None:
        """Hold nothing of `uids`."""
        for uid in uids:
            self._young.pop(uid, None)
            self._old.pop(uid, None)

    def clear(self) -> None:
        """Forget everything, and void what was read from the store before."""
        self.void_reads()
        self._young.clear()
        self._old.clear()

    def _entry(self, uid: bytes) -> ClientGrants | int | Unknown:
        entry = self._young.get(uid, UNKNOWN)
        if entry is UNKNOWN:
            entry = self._old.pop(uid, UNKNOWN)
            if entry is not UNKNOWN:
                self._put(uid, entry)
        return entry

    def _put(self, uid: bytes, entry: ClientGrants | int) -> None:
        self._old.pop(uid, None)
        self._young[uid] = entry
        if len(self._young) >= self._generation_size:
            self._old = self._young
            self._young = {}

    def _share(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        if len(self._path_sets) >= _MAX_PATH_SETS:
            self._path_sets.clear()
        return self._path_sets.setdefault(paths, paths)


def _withdrawal_of(path: str, *, is_end: bool) -> bytes:
    """Return the JSON object of the update that reports a withdrawal."""
    update = update_of(DISCONNECT_PATH, path.encode())
    return update[:-1] + b',"reason":"ended"}' if is_end else update


def _slim(raw: bytes) -> Record:
    """Return what delivery needs of the record `raw`. Errors: UnreadableRecordError."""
    record = read_record(raw)
    # Many clients have the same paths: each is kept once.
    return Record(
        version=record.version,
        paths={
            sys.intern(path): PathGrant(
                from_seq=grant.from_seq, version=grant.version, since=grant.since, epoch=grant.epoch, until=grant.until
            )
            for path, grant in record.paths.items()
        },
        expires=record.expires,
        withdrawn=msgspec.json.encode(record.withdrawn),
        ended=() if record.ended is UNSET else tuple(record.ended),
    )
