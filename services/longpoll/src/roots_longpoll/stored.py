"""What JetStream has stored: the state of a stream, a batch of its messages, the last message of a subject.

Batches are read by direct get, which any server of a cluster may answer, also one that lags; what has to be exact is
asked of the stream's leader. nats-py has no call for a batch. Source: NATS ADR-31.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots_common.streams import StreamState, StreamUnavailableError, stream_state
from roots_longpoll.errors import BrokerUnavailableError

REQUEST_SECONDS = 2.0
MAX_BATCH_BYTES = 1 << 20

_END_OF_BATCH = "204"
_NOT_FOUND = "404"
_ERR_NO_MESSAGE = 10037


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One message of a stream. Shape: headers are those it was published with, and JetStream's own."""

    seq: int
    subject: str
    headers: dict[str, str]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages of one subject, ascending; has_more tells whether the stream had others after them."""

    messages: list[Stored]
    has_more: bool


class StreamReader:
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
        query = {"seq": seq, "batch": limit, "next_by_subj": subject, "max_bytes": MAX_BATCH_BYTES}
        messages: list[Stored] = []
        try:
            inbox = self._client.new_inbox()
            subscription = await self._client.subscribe(inbox)
            try:
                await self._client.publish(
                    f"$JS.API.DIRECT.GET.{self._stream}", json.dumps(query).encode(), reply=inbox
                )
                while True:
                    message = await subscription.next_msg(timeout=REQUEST_SECONDS)
                    headers = message.headers or {}
                    status = headers.get("Status")
                    if status is None:
                        messages.append(_stored(message))
                    elif status in {_END_OF_BATCH, _NOT_FOUND}:
                        return Batch(messages=messages, has_more=int(headers.get("Nats-Num-Pending", "0")) > 0)
                    else:
                        raise BrokerUnavailableError(f"direct get of {self._stream}: status {status}")
            finally:
                await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise BrokerUnavailableError(f"direct get of {self._stream}: {type(error).__name__}") from error

    async def next_seq(self, seq: int, subject: str = ">") -> int | None:
        """Return the first sequence of `subject` from `seq` on, None when there is none, as the leader has it."""
        found = await self._leader_message({"seq": seq, "next_by_subj": subject})
        return None if found is None else int(found["seq"])

    async def last_of(self, subject: str) -> Stored | None:
        """Return the last message of `subject`, None when there is none, as the leader has it."""
        found = await self._leader_message({"last_by_subj": subject})
        if found is None:
            return None
        headers = {}
        for line in base64.b64decode(found.get("hdrs", "")).decode().split("\r\n")[1:]:
            name, _, value = line.partition(":")
            headers[name] = value.strip()
        return Stored(
            seq=int(found["seq"]), subject=subject, headers=headers, data=base64.b64decode(found.get("data", ""))
        )

    async def _leader_message(self, query: dict[str, Any]) -> dict[str, Any] | None:
        answer = json.loads((await self._request(f"$JS.API.STREAM.MSG.GET.{self._stream}", query)).data)
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


def _stored(message: Msg) -> Stored:
    headers = message.headers or {}
    return Stored(
        seq=int(headers["Nats-Sequence"]), subject=headers["Nats-Subject"], headers=headers, data=message.data
    )
