"""What JetStream has stored: the state of a stream, its messages in order, the last message of a subject.

Batches are read by direct get, which any server of a cluster may answer, also one that lags; what has to be exact is
asked of the stream's leader.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots.contracts.requests import RenewReply
from roots.contracts.subjects import EVENTS_STREAM, GRANTS_STREAM, JETSTREAM_API, LOG_RENEW
from roots.nats.log_epoch import LOG_SUBJECT, with_epoch
from roots.nats.stored import Batch, Stored, headers_of, read_batch, read_last
from roots.nats.streams import NatsUnavailableError, StreamState, stream_state

REQUEST_SECONDS = 2.0
BATCH = 256
# How long a server that lags gets to catch up before it is asked again.
LAG_SECONDS = 0.05

_ERR_NO_MESSAGE = 10037


class JetStreamReader:
    """Reads one stream. Errors: NatsUnavailableError from each method when NATS has no answer in time.

    Shape: `observe` is entered for each request, with the kind of it: stream_info, read_batch or read.
    """

    def __init__(
        self, client: Client, stream: str, observe: Callable[[str], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self._client = client
        self._stream = stream
        self._observe = observe

    async def state(self) -> StreamState:
        """Return the stream's extent, as its leader has it."""
        with self._observe("stream_info"):
            return await stream_state(self._client, self._stream, timeout_seconds=REQUEST_SECONDS)

    async def batch(self, *, seq: int, subject: str, limit: int) -> Batch:
        """Return up to `limit` messages of `subject` (wildcards allowed) from `seq` on."""
        with self._observe("read_batch"):
            return await read_batch(
                self._client, self._stream, seq=seq, subject=subject, limit=limit, timeout_seconds=REQUEST_SECONDS
            )

    async def next_seq(self, seq: int, subject: str = ">") -> int | None:
        """Return the first sequence of `subject` from `seq` on, None when there is none, as the leader has it."""
        found = await self._leader_message({"seq": seq, "next_by_subj": subject})
        return None if found is None else int(found["seq"])

    async def time_of(self, seq: int) -> str | None:
        """Return when the message `seq` was stored, None when there is none, as the leader has it."""
        found = await self._leader_message({"seq": seq})
        return None if found is None else str(found["time"])

    async def last_of(self, subject: str) -> Stored | None:
        """Return the last message of `subject`, None when there is none, as the leader has it."""
        found = await self._leader_message({"last_by_subj": subject})
        if found is None:
            return None
        if found["subject"] != subject:
            # Replicas of a service share a prefix of inboxes, so one of them can have its own answer sent here.
            raise NatsUnavailableError(f"message of {self._stream}: the answer is of another subject")
        headers = headers_of(base64.b64decode(found.get("hdrs", "")))
        return Stored(int(found["seq"]), subject, headers, base64.b64decode(found.get("data", "")))

    async def last_of_many(self, subjects: Sequence[str], *, up_to: int) -> list[Stored] | None:
        """Return the last messages of those of `subjects` that have one; None from a server that ends before `up_to`.

        Shape: at most 1024 subjects. None too when none of them has a message.
        """
        messages, end = await read_last(self._client, self._stream, subjects=subjects, timeout_seconds=REQUEST_SECONDS)
        return messages if end >= up_to and messages else None

    async def _leader_message(self, query: dict[str, Any]) -> dict[str, Any] | None:
        with self._observe("read"):
            answer = json.loads((await self._request(f"{JETSTREAM_API}.STREAM.MSG.GET.{self._stream}", query)).data)
            error = answer.get("error")
            if error is None:
                message: dict[str, Any] = answer["message"]
                return message
            if error.get("err_code") == _ERR_NO_MESSAGE:
                return None
            raise NatsUnavailableError(f"message of {self._stream}: code {error.get('err_code')}")

    async def _request(self, subject: str, query: dict[str, Any]) -> Msg:
        try:
            return await self._client.request(subject, json.dumps(query).encode(), timeout=REQUEST_SECONDS)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise NatsUnavailableError(f"{self._stream}: {type(error).__name__}") from error


async def read_between(reader: JetStreamReader, after: int, upto: int, subject: str) -> AsyncIterator[Stored]:
    """Yield every message of `subject` after `after` up to `upto`, and none beyond. Errors: NatsUnavailableError."""
    while after < upto:
        batch = await reader.batch(seq=after + 1, subject=subject, limit=min(BATCH, upto - after))
        for message in batch.messages:
            if message.seq > upto:
                return
            after = message.seq
            yield message
        if batch.has_more or after >= upto:
            continue
        # A server that lags ends its batch early; only the leader knows whether there is really nothing.
        following = await reader.next_seq(after + 1, subject)
        if following is None or following > upto:
            return
        await asyncio.sleep(LAG_SECONDS)


class LogReader(JetStreamReader):
    """Reads the event stream, in the epoch that the grants' bucket has for it. Errors: as JetStreamReader."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, EVENTS_STREAM)
        self._bucket = JetStreamReader(client, GRANTS_STREAM)

    async def state(self) -> StreamState:
        """Return the log's extent, as its leader has it."""
        state, record = await asyncio.gather(super().state(), self._bucket.last_of(LOG_SUBJECT))
        return with_epoch(state, b"" if record is None else record.data)

    async def renew(self, epoch: int) -> None:
        """Have the log get an epoch after `epoch`."""
        answer = await self._request(LOG_RENEW, {"epoch": epoch})
        try:
            reply = msgspec.json.decode(answer.data, type=RenewReply)
        except (msgspec.DecodeError, ValueError) as error:
            raise NatsUnavailableError("the log has no new epoch: no answer") from error
        if reply.error:
            raise NatsUnavailableError(f"the log has no new epoch: {reply.error}")
