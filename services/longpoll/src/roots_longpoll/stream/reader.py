"""What JetStream has stored: the state of a stream, a batch of its messages, the last message of a subject.

Batches are read by direct get, which any server of a cluster may answer, also one that lags; what has to be exact is
asked of the stream's leader.
"""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots.contracts.subjects import EVENTS_STREAM, GRANTS_STREAM, JETSTREAM_API, LOG_RENEW
from roots.nats.log_epoch import LOG_SUBJECT, RenewReply, with_epoch
from roots.nats.stored import Batch, Stored, headers_of, read_batch, read_last
from roots.nats.streams import StreamState, StreamUnavailableError, stream_state
from roots_longpoll.errors import BrokerUnavailableError

REQUEST_SECONDS = 2.0

_ERR_NO_MESSAGE = 10037


class JetStreamReader:
    """Reads one stream. Errors: BrokerUnavailableError from each method when NATS has no answer in time."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client = client
        self._stream = stream

    async def state(self) -> StreamState:
        """Return the stream's extent, as its leader has it."""
        try:
            return await stream_state(self._client, self._stream, timeout_seconds=REQUEST_SECONDS)
        except StreamUnavailableError as error:
            raise BrokerUnavailableError(str(error)) from error

    async def batch(self, *, seq: int, subject: str, limit: int) -> Batch:
        """Return up to `limit` messages of `subject` (wildcards allowed) from `seq` on."""
        try:
            return await read_batch(
                self._client, self._stream, seq=seq, subject=subject, limit=limit, timeout_seconds=REQUEST_SECONDS
            )
        except StreamUnavailableError as error:
            raise BrokerUnavailableError(str(error)) from error

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
            # The replicas share a prefix of inboxes, so one of them can have its own answer sent here.
            raise BrokerUnavailableError(f"message of {self._stream}: the answer is of another subject")
        headers = headers_of(base64.b64decode(found.get("hdrs", "")))
        return Stored(int(found["seq"]), subject, headers, base64.b64decode(found.get("data", "")))

    async def last_of_many(self, subjects: Sequence[str], *, up_to: int) -> list[Stored] | None:
        """Return the last messages of those of `subjects` that have one; None from a server that ends before `up_to`.

        Shape: at most 1024 subjects. None too when none of them has a message.
        """
        try:
            messages, end = await read_last(
                self._client, self._stream, subjects=subjects, timeout_seconds=REQUEST_SECONDS
            )
        except StreamUnavailableError as error:
            raise BrokerUnavailableError(str(error)) from error
        return messages if end >= up_to and messages else None

    async def _leader_message(self, query: dict[str, Any]) -> dict[str, Any] | None:
        answer = json.loads((await self._request(f"{JETSTREAM_API}.STREAM.MSG.GET.{self._stream}", query)).data)
        error = answer.get("error")
        if error is None:
            message: dict[str, Any] = answer["message"]
            return message
        if error.get("err_code") == _ERR_NO_MESSAGE:
            return None
        raise BrokerUnavailableError(f"message of {self._stream}: code {error.get('err_code')}")

    async def _request(self, subject: str, query: dict[str, Any]) -> Msg:
        try:
            return await self._client.request(subject, json.dumps(query).encode(), timeout=REQUEST_SECONDS)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise BrokerUnavailableError(f"{self._stream}: {type(error).__name__}") from error


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
            raise BrokerUnavailableError("the log has no new epoch: no answer") from error
        if reply.error:
            raise BrokerUnavailableError(f"the log has no new epoch: {reply.error}")
