"""The grants of all clients in memory, for revocations, policy changes and the limits of subjects.

The bucket's key is the uid, and nothing in NATS leads from a subject or a path to its records. So every replica reads
the bucket as a log: all of it at its start, then what has changed, by sequence. There is nothing to repair after an
outage; the next reading goes on where the last one ended. Whoever needs an exact answer calls `catch_up` first, which
reads all that is in the bucket at that moment, and what takes its place meanwhile.

Clients with the same grants share one grant set: a policy change costs one decision for thousands of anonymous
clients. Memory is that of the live records: about 0.4 KB for a client that shares a grant set, 1.7 KB
otherwise. ADR 0008.
"""

import asyncio
import hashlib
import math
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from roots.contracts.grant_records import GrantRecord, UnreadableRecordError, read_record
from roots.contracts.identity import Identity
from roots.contracts.subjects import GRANTS_PREFIX
from roots.nats.log_epoch import LOG_SUBJECT
from roots.nats.reader import read_to_end
from roots.nats.stored import TIME_HEADER, Stored
from roots.runtime import logs
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.expiry_schedule import ExpirySchedule
from roots_subscriptions.grants.record import by_path
from roots_subscriptions.grants.revisions import MARK_PREFIX, Revision
from roots_subscriptions.grants.store import GrantStore

# Changes that other replicas made are known after so long; nothing exact depends on it.
READ_INTERVAL_SECONDS = 1.0
SWEEP_INTERVAL_SECONDS = 60.0
# So many messages are looked for when the bucket has to be known again; mostly the first is there.
MARKS = 64
MAX_ENDED = 100_000

_Key = bytes

log = logs.get(__name__)


@dataclass(slots=True, eq=False)
class GrantSet:
    """The grants that some clients share.

    Shape: paths has what granted each path, or is about to: `apps.NAME` or `backends.NAME`.
    """

    key: _Key
    identity: Identity
    paths: dict[str, str]
    uids: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Entry:
    grant_set: GrantSet
    expires: float
    seq: int


class GrantIndex:
    """The live records by what they hold, and by when something of them ends. One event loop owns it.

    Shape: expiry_schedule has the clients with paths that will expire, or that are still to be withdrawn; ended_clients
        has the latest uids that have no record any more, each with the sequence of its last one.
    """

    def __init__(self, store: GrantStore) -> None:
        self.expiry_schedule = ExpirySchedule()
        self.ended_clients: deque[tuple[str, int]] = deque(maxlen=MAX_ENDED)
        self._store = store
        self._reading = asyncio.Lock()
        self._begun_count = 0
        self._read_count = 0
        self._epoch = 0
        self._position = 0
        # The latest messages that were read, and when they were stored.
        self._marks: deque[tuple[int, str | None]] = deque(maxlen=MARKS)
        self._is_loaded = False
        self._entries: dict[str, _Entry] = {}
        self._grant_sets: dict[_Key, GrantSet] = {}
        self._subjects: dict[str, set[str]] = {}
        self._bound_count = 0
        self._revoked_at: dict[str, int] = {}
        self._swept = time.monotonic()
        self._compared = -math.inf

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_loaded(self) -> bool:
        """Whether the whole bucket was read once."""
        return self._is_loaded

    async def follow(self) -> None:
        """Keep up with the bucket until cancelled; an outage is waited for."""
        while True:
            try:
                await self.catch_up()
                await self._compare()
            except BrokerUnavailableError:
                log.debug("index_not_read")
            await asyncio.sleep(READ_INTERVAL_SECONDS)

    async def catch_up(self) -> None:
        """Take in everything that is in the bucket now. Errors: BrokerUnavailableError."""
        begun_before = self._begun_count
        async with self._reading:
            if self._read_count > begun_before:
                # One that began after this call has read it meanwhile.
                return
            self._begun_count += 1
            reading = self._begun_count
            state = await self._store.bucket.state()
            if state.epoch != self._epoch or state.last < self._position or not await self._is_known():
                self._forget_all(state.epoch)
            async for message in read_to_end(self._store.bucket, self._position, state.last, f"{GRANTS_PREFIX}>"):
                self._apply_stored(message)
                self._position = message.seq
                self._marks.append((message.seq, message.headers.get(TIME_HEADER)))
            self._position = max(self._position, state.last)
            self._is_loaded = True
            self._read_count = reading
        self._sweep()

    def is_marked_since(self, revision: Revision, keys: Iterable[str]) -> bool:
        """Return whether one of the markers `keys` is later than `revision`, or this is another bucket than its own."""
        if revision.epoch != self._epoch or revision.seq > self._position:
            return True
        return any(self._revoked_at.get(key, 0) > revision.seq for key in keys)

    def note(self, uid: str, record: GrantRecord, seq: int) -> None:
        """Take in a record that this replica has just written as message `seq` of the bucket."""
        known = self._entries.get(uid)
        if known is not None and known.seq >= seq:
            return
        self._drop(uid)
        if not record.is_live(time.time()):
            return
        # Many clients have the same paths and grantors: each text is kept once.
        paths = {sys.intern(path): sys.intern(by) for path, by in by_path(record).items()}
        key = _key_of(record)
        grant_set = self._grant_sets.get(key)
        if grant_set is None:
            grant_set = self._grant_sets[key] = GrantSet(key=key, identity=record.identity, paths=paths)
        grant_set.uids.add(uid)
        if record.subject is not None:
            self._subjects.setdefault(record.subject, set()).add(uid)
            self._bound_count += 1
        self._entries[uid] = _Entry(grant_set=grant_set, expires=record.expires, seq=seq)
        if record.next_end is not None:
            self.expiry_schedule.put(uid, math.ceil(record.next_end))

    def grant_sets(self) -> list[GrantSet]:
        """Return every grant set; their uids may change while a caller awaits something."""
        return list(self._grant_sets.values())

    def find(self, *, subject: str | None = None, path: str | None = None) -> list[str]:
        """Return the uids that are bound to `subject` and hold `path`; None stands for any."""
        if subject is not None:
            uids: Iterator[str] = iter(self._subjects.get(subject, ()))
            return [uid for uid in uids if path is None or path in self._entries[uid].grant_set.paths]
        return [
            uid for grant_set in self.grant_sets() if path is None or path in grant_set.paths for uid in grant_set.uids
        ]

    @property
    def anonymous_count(self) -> int:
        """How many live clients are bound to no subject; ended ones count until they are swept."""
        return len(self._entries) - self._bound_count

    def count_others(self, subject: str, uid: str) -> int:
        """Return how many live clients beside `uid` are bound to `subject`."""
        now = time.time()
        others = self._subjects.get(subject, set()) - {uid}
        return sum(now < self._entries[other].expires for other in others)

    async def _is_known(self) -> bool:
        """Return whether the bucket still has what was read: a restored one has other messages of these sequences.

        When all of them were replaced meanwhile it is read again.
        """
        for seq, stored_at in reversed(self._marks):
            found = await self._store.bucket.time_of(seq)
            if found is not None:
                return found == stored_at
        return not self._marks

    async def _compare(self) -> None:
        """Drop the records that the bucket no longer has; no message reports those."""
        if time.monotonic() - self._compared < self._store.presence.pause_seconds:
            return
        present = await self._store.presence.changed()
        self._compared = time.monotonic()
        if present is None:
            return
        gone = [uid for uid, entry in self._entries.items() if present.lacks(GRANTS_PREFIX + uid, entry.seq)]
        for uid in gone:
            self._end(uid)

    def _apply_stored(self, message: Stored) -> None:
        if message.subject == LOG_SUBJECT:
            return
        uid = message.subject.removeprefix(GRANTS_PREFIX)
        if uid.startswith(MARK_PREFIX):
            self._revoked_at[uid] = message.seq
            return
        try:
            record = read_record(message.data) if message.data else None
        except UnreadableRecordError:
            # It grants nothing, to longpoll neither.
            self._store.note_unreadable(message.seq)
            record = None
        if record is None:
            self._end(uid)
        else:
            self.note(uid, record, message.seq)

    def _end(self, uid: str) -> None:
        entry = self._entries.get(uid)
        if entry is not None:
            self.ended_clients.append((uid, entry.seq))
            self._drop(uid)

    def _drop(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry is None:
            return
        self.expiry_schedule.discard(uid)
        entry.grant_set.uids.discard(uid)
        if not entry.grant_set.uids:
            del self._grant_sets[entry.grant_set.key]
        subject = entry.grant_set.identity.subject
        if subject is not None:
            self._subjects[subject].discard(uid)
            self._bound_count -= 1
            if not self._subjects[subject]:
                del self._subjects[subject]

    def _sweep(self) -> None:
        # A record that NATS has ended by its time to live leaves no message behind.
        if time.monotonic() - self._swept < SWEEP_INTERVAL_SECONDS:
            return
        self._swept = time.monotonic()
        now = time.time()
        for uid in [uid for uid, entry in self._entries.items() if entry.expires <= now]:
            self._end(uid)

    def _forget_all(self, epoch: int) -> None:
        self._epoch = epoch
        self._position = 0
        self._marks.clear()
        self.expiry_schedule = ExpirySchedule()
        self._entries.clear()
        self._grant_sets.clear()
        self._subjects.clear()
        self._bound_count = 0
        self._revoked_at.clear()


def _key_of(record: GrantRecord) -> _Key:
    """Return what clients have in common that hold the same: a digest, since the paths themselves may be 8 KiB."""
    granted = sorted(by_path(record).items())
    return hashlib.sha256(msgspec.json.encode((record.subject, record.token_claims, granted))).digest()
