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
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from roots_common import logs
from roots_common.streams import StreamState, StreamUnavailableError, stream_state
from roots_common.subjects import EVENTS_STREAM, GRANTS_PREFIX, GRANTS_STREAM
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.metrics import Metrics
from roots_subscriptions.record import GrantRecord, connected, disconnected, extended, new_record

REQUEST_TIMEOUT_SECONDS = 2.0
# A record outlives its `expires` a little in the bucket, so that it is never missed while it counts.
TTL_MARGIN_SECONDS = 60
# Writers of one uid are its own tabs' requests, so this many can't meet but by intent.
MAX_ATTEMPTS = 40
MAX_CONFLICT_WAIT_SECONDS = 0.05

_EXPECTED_SEQUENCE_HEADER = "Nats-Expected-Last-Subject-Sequence"
# Error codes of JetStream's API, which keep their meaning between versions, as its texts do not.
_WRONG_LAST_SEQUENCE = 10071
_STREAM_NOT_FOUND = 10059

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A record as it was and as it is; `before` is None when there was none, `after` when there still is none."""

    before: GrantRecord | None
    after: GrantRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the bucket has for one uid.

    Shape: record is None when none counts; sequence is that of the key's last message, 0 when it has none.
    """

    record: GrantRecord | None
    sequence: int


class GrantStore:
    """Changes grant records. Its coroutines run on the event loop of the client that `client` returns.

    Errors: BrokerUnavailableError from each of them when NATS does not answer, lacks the bucket, or others write the
        same record faster.
    """

    def __init__(self, client: Callable[[], Client], metrics: Metrics) -> None:
        self._client = client
        self._metrics = metrics

    async def connect(self, uid: str, paths: Collection[str]) -> Change:
        """Grant `paths` to `uid` from the present on, and confirm those that it holds.

        Errors: TooManyPathsError.
        """
        # Before the record is written, so that no event after the answer to the client is older than its grant.
        head = await self._head(EVENTS_STREAM)

        async def change(record: GrantRecord | None) -> GrantRecord:
            if record is None:
                record = new_record((await self._head(GRANTS_STREAM)).last)
            return connected(record, paths, head=head, now=time.time())

        return await self._change(uid, change)

    async def disconnect(self, uid: str, paths: Collection[str]) -> Change:
        """Withdraw those of `paths` that `uid` holds."""

        async def change(record: GrantRecord | None) -> GrantRecord | None:
            return None if record is None else disconnected(record, paths)

        return await self._change(uid, change)

    async def touch(self, uid: str) -> Change:
        """Let the record of `uid` live on when less than half of its time is left: each write costs a sync to disk."""

        async def change(record: GrantRecord | None) -> GrantRecord | None:
            now = time.time()
            return extended(record, now=now) if record is not None and record.is_half_over(now) else record

        return await self._change(uid, change)

    async def _change(self, uid: str, change: Callable[[GrantRecord | None], Awaitable[GrantRecord | None]]) -> Change:
        for _ in range(MAX_ATTEMPTS):
            stored = await self._read(uid)
            record = await change(stored.record)
            if record is None or record is stored.record or await self._write(uid, record, stored.sequence):
                return Change(before=stored.record, after=record)
            self._metrics.conflicts.inc()
            await asyncio.sleep(random.uniform(0, MAX_CONFLICT_WAIT_SECONDS))  # noqa: S311  # spreads retries, no secret
        raise BrokerUnavailableError("the record changes too fast")

    async def _read(self, uid: str) -> _Stored:
        with self._request("read"):
            try:
                message = await self._jetstream().get_msg(GRANTS_STREAM, subject=_key(uid), direct=False)
            except NotFoundError as error:
                if error.err_code == _STREAM_NOT_FOUND:
                    raise
                return _Stored(record=None, sequence=0)
        if not message.data or message.seq is None:
            # A marker: the key was deleted or purged by hand.
            return _Stored(record=None, sequence=message.seq or 0)
        record = msgspec.json.decode(message.data, type=GrantRecord)
        return _Stored(record=record if record.is_live(time.time()) else None, sequence=message.seq)

    async def _write(self, uid: str, record: GrantRecord, expected_sequence: int) -> bool:
        """Store `record` unless there is a later message than `expected_sequence`; return whether it is stored."""
        ttl_seconds = max(1, record.expires - time.time()) + TTL_MARGIN_SECONDS
        with self._request("write"):
            try:
                await self._jetstream().publish(
                    _key(uid),
                    msgspec.json.encode(record),
                    stream=GRANTS_STREAM,
                    headers={_EXPECTED_SEQUENCE_HEADER: str(expected_sequence)},
                    msg_ttl=ttl_seconds,
                )
            except APIError as error:
                if error.err_code == _WRONG_LAST_SEQUENCE:
                    return False
                raise
        return True

    async def _head(self, stream: str) -> StreamState:
        with self._request("stream_info"):
            return await stream_state(self._client(), stream, timeout_seconds=REQUEST_TIMEOUT_SECONDS)

    @contextmanager
    def _request(self, operation: str) -> Iterator[None]:
        """Observe a request to NATS, and say that NATS is unavailable however it fails."""
        with self._metrics.broker_operation(operation):
            try:
                yield
            except (nats.errors.Error, OSError, StreamUnavailableError) as error:
                code = error.err_code if isinstance(error, APIError) else None
                log.warning("broker_request_failed", operation=operation, error=type(error).__name__, err_code=code)
                raise BrokerUnavailableError(type(error).__name__) from error

    def _jetstream(self) -> JetStreamContext:
        return self._client().jetstream(timeout=REQUEST_TIMEOUT_SECONDS)


def _key(uid: str) -> str:
    return f"{GRANTS_PREFIX}{uid}"
