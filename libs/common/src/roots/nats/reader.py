"""What JetStream has stored: the state of a stream, its messages in order, the last message of a subject.

Many messages at once are read by direct get. Any server of a cluster may answer, also one that lags: what it has comes
in order and without holes, but may end early, so where it has to be exact the stream's leader says what follows.
nats-py has no call for a batch. Source: NATS ADR-31.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots.contracts.requests import RenewReply
from roots.contracts.subjects import EVENTS_STREAM, GRANTS_STREAM, JETSTREAM_API, LOG_RENEW
from roots.nats import streams
from roots.nats.log_epoch import LOG_SUBJECT, with_epoch
from roots.nats.stored import SEQUENCE_HEADER, SUBJECT_HEADER, Batch, Stored, headers_of
from roots.nats.streams import NatsUnavailableError, StreamState

REQUEST_SECONDS = 2.0
BATCH = 256
# How long a server that lags gets to catch up before it is asked again.
LAG_SECONDS = 0.05

_MAX_BATCH_BYTES = 1 << 20
# Two pages of subjects have so many in common, unless some of the first were removed meanwhile.
_PAGE_OVERLAP = 5_000
_END_OF_BATCH = "204"
_NOT_FOUND = "404"
_ERR_NO_MESSAGE = 10037


class JetStreamReader:
    """Reads one stream. Errors: NatsUnavailableError from each method when NATS has no answer in time.

    Shape: `observe` is entered for each request, with the kind of it: stream_info, list, read_batch or read.
    """

    def __init__(
        self,
        client: Client,
        stream: str,
        observe: Callable[[str], AbstractContextManager[object]] = nullcontext,
        *,
        timeout_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._client = client
        self._stream = stream
        self._observe = observe
        self._timeout_seconds = timeout_seconds

    async def state(self) -> StreamState:
        """Return the stream's extent, as its leader has it."""
        with self._observe("stream_info"):
            asked_at = streams.wall_clock()
            answer = await self._info({})
            return streams.state_of(self._stream, answer, asked_at=asked_at, answered_at=streams.wall_clock())

    async def subjects(self, pattern: str) -> set[str]:
        """Return the subjects that `pattern` matches and that have a message; none that stays is missed."""
        found: set[str] = set()
        offset, latest = 0, ""
        with self._observe("list"):
            while True:
                answer = await self._info({"subjects_filter": pattern, "offset": offset})
                info = streams.info_of(self._stream, answer)
                # A page has 100,000 subjects, in the order of their names.
                page = info.state.subjects or {}
                if offset and (not page or min(page) > latest):
                    # More subjects were removed meanwhile than two pages have in common: some may be in neither.
                    found, offset, latest = set(), 0, ""
                    continue
                found.update(page)
                if offset + len(page) >= info.total:
                    return found
                latest = max(page)
                offset += max(1, len(page) - _PAGE_OVERLAP)

    async def batch(self, *, seq: int, subject: str, limit: int) -> Batch:
        """Return up to `limit` messages of `subject` (wildcards allowed) from `seq` on."""
        query = {"seq": seq, "batch": limit, "next_by_subj": subject, "max_bytes": _MAX_BATCH_BYTES}
        with self._observe("read_batch"):
            messages, end = await self._direct_get(query)
        return Batch(messages=messages, has_more=int(end.get("Nats-Num-Pending", "0")) > 0)

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
        headers = headers_of(base64.b64decode(found.get("hdrs", "")))
        return Stored(int(found["seq"]), subject, headers, base64.b64decode(found.get("data", "")))

    async def last_of_many(self, subjects: Sequence[str], *, up_to: int) -> list[Stored] | None:
        """Return the last messages of those of `subjects` that have one; None from a server that ends before `up_to`.

        Shape: at most 1024 subjects. None too when none of them has a message.
        """
        messages, end = await self._direct_get({"multi_last": subjects, "batch": len(subjects)})
        return messages if int(end.get("Nats-UpTo-Sequence", "0")) >= up_to and messages else None

    async def _direct_get(self, query: Mapping[str, object]) -> tuple[list[Stored], Mapping[str, str]]:
        """Return the messages that answer `query`, and the headers of the answer's end."""
        messages: list[Stored] = []
        end: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()

        async def take(message: Msg) -> None:
            headers = message.headers or {}
            # A stored message may have a header `Status` of its own; the end of a batch has no sequence.
            if SEQUENCE_HEADER in headers and SUBJECT_HEADER in headers:
                messages.append(Stored(int(headers[SEQUENCE_HEADER]), headers[SUBJECT_HEADER], headers, message.data))
            elif "Status" in headers and not end.done():
                end.set_result(headers)

        try:
            inbox = self._client.new_inbox()
            # With a callback: to await each message by itself costs four times as much.
            subscription = await self._client.subscribe(inbox, cb=take)
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    call = f"{JETSTREAM_API}.DIRECT.GET.{self._stream}"
                    await self._client.publish(call, json.dumps(query).encode(), reply=inbox)
                    headers = await end
            finally:
                await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise NatsUnavailableError(f"direct get of {self._stream}: {type(error).__name__}") from error
        if headers["Status"] not in {_END_OF_BATCH, _NOT_FOUND}:
            raise NatsUnavailableError(f"direct get of {self._stream}: status {headers['Status']}")
        return messages, headers

    async def _info(self, query: Mapping[str, object]) -> bytes:
        return (await self._request(f"{JETSTREAM_API}.STREAM.INFO.{self._stream}", query)).data

    async def _leader_message(self, query: dict[str, Any]) -> dict[str, Any] | None:
        with self._observe("read"):
            answer = json.loads((await self._request(f"{JETSTREAM_API}.STREAM.MSG.GET.{self._stream}", query)).data)
            error = answer.get("error")
            if error is None:
                message: dict[str, Any] = answer["message"]
                if message["subject"] != query.get("last_by_subj", message["subject"]):
                    # Replicas of a service share a prefix of inboxes, so one of them can have its own answer sent here.
                    raise NatsUnavailableError(f"message of {self._stream}: the answer is of another subject")
                return message
            if error.get("err_code") == _ERR_NO_MESSAGE:
                return None
            raise NatsUnavailableError(f"message of {self._stream}: code {error.get('err_code')}")

    async def _request(self, subject: str, query: Mapping[str, object]) -> Msg:
        try:
            return await self._client.request(subject, json.dumps(query).encode(), timeout=self._timeout_seconds)
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


async def read_to_end(reader: JetStreamReader, after: int, upto: int, subject: str) -> AsyncIterator[Stored]:
    """Yield the messages of `subject` after `after`: of each subject that has one now, its last one or an earlier one.

    A stream that keeps the last message of a subject moves what changes to its end. So reading up to a sequence may
    pass over a subject that changes meanwhile, and this reads on until one answer has all that is left.

    Shape: upto is the stream's last sequence, as its leader has it now.
    Errors: NatsUnavailableError.
    """
    while True:
        batches = 0
        has_more = True
        while has_more:
            batch = await reader.batch(seq=after + 1, subject=subject, limit=BATCH)
            batches += 1
            has_more = batch.has_more
            for message in batch.messages:
                after = message.seq
                yield message
        if batches == 1:
            if after >= upto or await reader.next_seq(after + 1, subject) is None:
                return
            await asyncio.sleep(LAG_SECONDS)
        # The server of the last batch may lag behind those of the others.
        upto = (await reader.state()).last


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
