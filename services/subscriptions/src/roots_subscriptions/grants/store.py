"""The grant records of all clients, in the KV bucket `roots-grants`: read from its leader, written by compare-and-set.

nats-py's own KV has no time to live on an update and takes a marker for a value, so a record is written as a message
and read as the last message of its subject. A direct get could be answered by a replica that lags, so it is not used.

Where a new record's count begins: a client whose record has expired may still poll with the number of an old change. If
a new record counted from zero, a change of it could have a number that the client claims to know. So it counts from
the last sequence of the bucket. Every change of a record advances that sequence by one at least, and the record's own
count by exactly one, so no count is ever ahead of the sequence, and a later record of the same uid starts above every
number that an earlier one has used. It costs one request when a client connects for the first time.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError

from roots.contracts.grant_records import GrantRecord, UnreadableRecordError, read_record
from roots.contracts.subjects import EVENTS_STREAM, GRANTS_PREFIX, GRANTS_STREAM, JETSTREAM_API
from roots.nats.log_epoch import LOG_KEY, LogEpoch, with_epoch
from roots.nats.presence import PresenceCheck
from roots.nats.reader import REQUEST_SECONDS, JetStreamReader
from roots.nats.streams import NatsUnavailableError, StreamState
from roots.runtime import logs
from roots.runtime.episodes import Episode
from roots_subscriptions.errors import BrokerUnavailableError, BucketFullError, EpochRefusedError
from roots_subscriptions.grants.record import new_record
from roots_subscriptions.grants.write_health import WriteHealth
from roots_subscriptions.metrics import Metrics

# A record outlives its `expires` a little in the bucket, so that it is never missed while it counts.
TTL_MARGIN_SECONDS = 60
# Writers of one uid are its own tabs' requests, so this many can't meet but by intent.
MAX_ATTEMPTS = 40
MAX_CONFLICT_WAIT_SECONDS = 0.05

# The key of the marker that is written as a try: no uid has this form.
_TRY_KEY = "try"
TRY_TTL_SECONDS = 1.0
# One bad replica of longpoll can't make every client start again more often.
MIN_EPOCH_MS = 5000
MAX_EPOCH_AHEAD_MS = 60_000
# So many of the latest unreadable records are known again.
MAX_KNOWN_UNREADABLE = 4096
# Every replica has taken in a marker by then.
REMOVED_TTL_SECONDS = 3600.0

_OPERATION_HEADER = "KV-Operation"
_EXPECTED_SEQUENCE_HEADER = "Nats-Expected-Last-Subject-Sequence"
# Error codes of JetStream's API, which keep their meaning between versions, as its texts do not.
_WRONG_LAST_SEQUENCE = 10071
_NOT_STORED = 10077
# What a message takes beside its record, at most: its subject, its headers and the file's own.
RECORD_OVERHEAD_BYTES = 512

Transform = Callable[[GrantRecord | None], Awaitable[GrantRecord | None]]

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A record as it was and as it is; `before` is None when there was none, `after` when there still is none.

    Shape: seq is the sequence of the record that was written, 0 when none was.
    """

    before: GrantRecord | None
    after: GrantRecord | None
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the bucket has for one uid.

    Shape: record is None when none counts; sequence is that of the key's last message, 0 when it has none;
        is_unreadable means that the message is neither a record nor a marker.
    """

    record: GrantRecord | None
    sequence: int
    is_unreadable: bool = False


class _ConflictError(Exception):
    """Another write came between."""


class GrantStore:
    """Reads and changes grant records; `writes` has whether the changes are taken, `presence` which keys there are.

    Its coroutines run on the event loop of the client that `client` returns.

    Errors: BrokerUnavailableError from each of them when NATS does not answer, lacks the bucket, or others write the
        same record faster.
    """

    def __init__(self, client: Callable[[], Client], metrics: Metrics) -> None:
        self._client = client
        self._metrics = metrics
        self.write_health = WriteHealth()
        self._unreadable: dict[int, None] = {}
        self._failures: dict[str, Episode] = {}
        self.presence = PresenceCheck(lambda: self.bucket, f"{GRANTS_PREFIX}>")

    async def read(self, uid: str) -> GrantRecord | None:
        """Return the record of `uid`, None when there is none that counts."""
        return (await self._read(uid)).record

    @property
    def bucket(self) -> JetStreamReader:
        """What reads the bucket's stream."""
        return JetStreamReader(self._client(), GRANTS_STREAM, self._request)

    async def events_head(self) -> StreamState:
        """Return the extent of the event stream, in its newest epoch."""
        state, (_, raw) = await asyncio.gather(self._head(EVENTS_STREAM), self._read_key(LOG_KEY))
        return with_epoch(state, raw)

    async def renew_epoch(self, known: int) -> int:
        """Return an epoch of the event log after `known`: the one that it has, or a new one from now on.

        Errors: EpochRefusedError.
        """
        for _ in range(MAX_ATTEMPTS):
            created, (sequence, raw) = await asyncio.gather(self._head(EVENTS_STREAM), self._read_key(LOG_KEY))
            current, now = with_epoch(created, raw), round(time.time() * 1000)
            if current.epoch > known:
                return current.epoch
            if known > now + MAX_EPOCH_AHEAD_MS:
                raise EpochRefusedError("the known epoch is in the future")
            if current.epoch != created.epoch and now - current.epoch < MIN_EPOCH_MS:
                raise EpochRefusedError("it got one a moment ago")
            record = LogEpoch(epoch=max(now, known + 1), created=created.epoch, start=created.last)
            try:
                await self._put(LOG_KEY, msgspec.json.encode(record), {_EXPECTED_SEQUENCE_HEADER: str(sequence)}, None)
            except _ConflictError:
                continue
            log.warning("log_epoch_renewed", known=known, epoch=record.epoch, last=created.last)
            return record.epoch
        raise BrokerUnavailableError("the epoch changes too fast")

    def note_unreadable(self, seq: int) -> None:
        """Count and log the message `seq` of the bucket, which is no record, unless that was done lately."""
        if seq in self._unreadable:
            return
        self._unreadable[seq] = None
        if len(self._unreadable) > MAX_KNOWN_UNREADABLE:
            del self._unreadable[next(iter(self._unreadable))]
        self._metrics.unreadable_records.inc()
        log.warning("record_unreadable", revision=seq)

    async def create(self) -> GrantRecord:
        """Return a record for a uid that has none, without paths; it is not stored."""
        return new_record((await self._head(GRANTS_STREAM)).last)

    async def change(self, uid: str, change: Transform, *, removes_unreadable: bool = False) -> Change:
        """Store what `change` makes of the record of `uid`; when another write comes between, it is asked again.

        Shape: a `change` that returns the same record, or None, writes nothing. With removes_unreadable a marker takes
            the place of what is no record.
        Errors: what `change` raises.
        """
        for _ in range(MAX_ATTEMPTS):
            stored = await self._read(uid)
            record = await change(stored.record)
            try:
                if record is None and stored.is_unreadable and removes_unreadable:
                    await self._remove(uid, stored.sequence)
                if record is None or record is stored.record:
                    return Change(before=stored.record, after=record)
                seq = await self._write(uid, record, stored.sequence)
                return Change(before=stored.record, after=record, seq=seq)
            except _ConflictError:
                self._metrics.conflicts.inc()
            await asyncio.sleep(random.uniform(0, MAX_CONFLICT_WAIT_SECONDS))  # noqa: S311  # spreads retries, no secret
        raise BrokerUnavailableError("the record changes too fast")

    async def _read_key(self, key: str) -> tuple[int, bytes]:
        """Return the last message of `key`: its sequence, 0 when it has none, and its bytes."""
        found = await self.bucket.last_of(_key(key))
        return (0, b"") if found is None else (found.seq, found.data)

    async def _read(self, uid: str) -> _Stored:
        sequence, raw = await self._read_key(uid)
        if not raw:
            # None, or a marker: the key was deleted or purged by hand.
            return _Stored(record=None, sequence=sequence)
        try:
            record = read_record(raw)
        except UnreadableRecordError:
            self.note_unreadable(sequence)
            return _Stored(record=None, sequence=sequence, is_unreadable=True)
        return _Stored(record=record if record.is_live(time.time()) else None, sequence=sequence)

    async def _write(self, uid: str, record: GrantRecord, expected_sequence: int) -> int:
        """Store `record` and return its sequence. Errors: _ConflictError for a later one than `expected_sequence`."""
        ttl_seconds = max(1, record.expires - time.time()) + TTL_MARGIN_SECONDS
        headers = {_EXPECTED_SEQUENCE_HEADER: str(expected_sequence)}
        return await self._put(uid, msgspec.json.encode(record), headers, ttl_seconds)

    async def _remove(self, uid: str, expected_sequence: int) -> None:
        """Mark the key of `uid` as deleted. Errors: _ConflictError for a later message than `expected_sequence`."""
        headers = {_OPERATION_HEADER: "DEL", _EXPECTED_SEQUENCE_HEADER: str(expected_sequence)}
        await self._put(uid, b"", headers, REMOVED_TTL_SECONDS)

    async def mark(self, key: str) -> int:
        """Write a marker under `key`, which stands for no client and stays, and return its sequence."""
        return await self._put(key, b"", {_OPERATION_HEADER: "DEL"}, None)

    async def try_write(self) -> None:
        """Write a marker, which stands for no client and is soon gone, to find out whether the bucket takes writes."""
        await self._put(_TRY_KEY, b"", {_OPERATION_HEADER: "DEL"}, TRY_TTL_SECONDS)

    async def _put(self, key: str, value: bytes, headers: dict[str, str], ttl_seconds: float | None) -> int:
        """Store a message and return its sequence. Errors: _ConflictError when an expected sequence is another."""
        with self._request("write"):
            try:
                ack = await self._jetstream().publish(
                    _key(key), value, stream=GRANTS_STREAM, headers=headers, msg_ttl=ttl_seconds
                )
            except (nats.errors.Error, OSError) as error:
                if isinstance(error, APIError) and error.err_code == _WRONG_LAST_SEQUENCE:
                    raise _ConflictError from error
                if isinstance(error, APIError) and error.err_code == _NOT_STORED and await self._is_full(len(value)):
                    raise BucketFullError("the bucket is full") from error
                self.write_health.note(GRANTS_STREAM, is_stored=False)
                raise
        self.write_health.note(GRANTS_STREAM, is_stored=True)
        return ack.seq

    async def _is_full(self, value_bytes: int) -> bool:
        """Return whether the bucket's own limit keeps a record of so many bytes out, and not the disk."""
        state = await self._head(GRANTS_STREAM)
        return 0 <= state.limit_bytes < state.bytes + value_bytes + RECORD_OVERHEAD_BYTES

    async def _head(self, stream: str) -> StreamState:
        return await JetStreamReader(self._client(), stream, self._request).state()

    @contextmanager
    def _request(self, operation: str) -> Iterator[None]:
        """Observe a request to NATS, and say that NATS is unavailable however it fails."""
        failures = self._failures.get(operation)
        if failures is None:
            failures = self._failures[operation] = Episode(log, "broker_request", operation=operation)
        with self._metrics.broker_operation(operation):
            try:
                yield
            except (nats.errors.Error, OSError, NatsUnavailableError) as error:
                code = f", error {error.err_code}" if isinstance(error, APIError) else ""
                failures.failed(str(error) if isinstance(error, NatsUnavailableError) else type(error).__name__ + code)
                raise BrokerUnavailableError(type(error).__name__) from error
            failures.ended()

    def _jetstream(self) -> JetStreamContext:
        return self._client().jetstream(prefix=JETSTREAM_API, timeout=REQUEST_SECONDS)


def _key(uid: str) -> str:
    return f"{GRANTS_PREFIX}{uid}"
