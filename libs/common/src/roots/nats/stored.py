"""What JetStream has stored: many messages of a stream at once, by direct get.

Any server of a cluster may answer, also one that lags: what it has comes in order and without holes, but may end early,
so where it has to be exact the stream's leader says what follows. nats-py has no call for a batch. Source: NATS ADR-31.

A stored message may have any bytes as headers. `headers_of` takes them all, since a message that is lost here would be
missed and asked for without end.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots.contracts.subjects import JETSTREAM_API
from roots.nats.streams import NatsUnavailableError

MAX_BATCH_BYTES = 1 << 20

SEQUENCE_HEADER = "Nats-Sequence"
SUBJECT_HEADER = "Nats-Subject"
TIME_HEADER = "Nats-Time-Stamp"

_VERSION = "NATS/1.0"
_END_OF_BATCH = "204"
_NOT_FOUND = "404"


class Stored(NamedTuple):
    """One message of a stream; a named tuple, since one is made for each event.

    Shape: headers has at least those that whoever reads the stream asks for.
    """

    seq: int
    subject: str
    headers: dict[str, str]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages of one subject, ascending; has_more is true when the stream had others after them."""

    messages: list[Stored]
    has_more: bool


def headers_of(block: bytes) -> dict[str, str]:
    """Return the headers of a message by name, the last of each name: the server appends its own.

    Shape: the number of an inline status is the header `Status`, its text `Description`. A line that is no header is
        passed over; bytes that are not ASCII are read as Latin-1.
    """
    first, *lines = block.decode("latin-1").split("\r\n")
    headers = {}
    status, _, description = first.removeprefix(_VERSION).strip().partition(" ")
    if status:
        headers["Status"] = status
        headers["Description"] = description
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return headers


async def read_batch(
    client: Client, stream: str, *, seq: int, subject: str, limit: int, timeout_seconds: float
) -> Batch:
    """Return up to `limit` messages of `subject` (wildcards allowed) from `seq` on. Errors: NatsUnavailableError."""
    query = {"seq": seq, "batch": limit, "next_by_subj": subject, "max_bytes": MAX_BATCH_BYTES}
    messages, end = await _read(client, stream, query, timeout_seconds)
    return Batch(messages=messages, has_more=int(end.get("Nats-Num-Pending", "0")) > 0)


async def read_last(
    client: Client, stream: str, *, subjects: Sequence[str], timeout_seconds: float
) -> tuple[list[Stored], int]:
    """Return the last message of each of `subjects` that has one, and the sequence up to which the server knew.

    Shape: at most 1024 subjects; the sequence is 0 when there is no message at all, and nothing is known then.
    Errors: NatsUnavailableError.
    """
    messages, end = await _read(client, stream, {"multi_last": subjects, "batch": len(subjects)}, timeout_seconds)
    return messages, int(end.get("Nats-UpTo-Sequence", "0"))


async def _read(
    client: Client, stream: str, query: Mapping[str, object], timeout_seconds: float
) -> tuple[list[Stored], Mapping[str, str]]:
    """Return the messages that answer `query`, and the headers of the answer's end."""
    messages: list[Stored] = []
    end: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()

    async def take(message: Msg) -> None:
        headers = message.headers or {}
        # A stored message may have a header `Status` of its own; the end of a batch has no sequence.
        if SEQUENCE_HEADER in headers and SUBJECT_HEADER in headers:
            messages.append(_stored(message, headers))
        elif "Status" in headers and not end.done():
            end.set_result(headers)

    try:
        inbox = client.new_inbox()
        # With a callback: to await each message by itself costs four times as much.
        subscription = await client.subscribe(inbox, cb=take)
        try:
            async with asyncio.timeout(timeout_seconds):
                await client.publish(f"{JETSTREAM_API}.DIRECT.GET.{stream}", json.dumps(query).encode(), reply=inbox)
                headers = await end
        finally:
            await subscription.unsubscribe()
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise NatsUnavailableError(f"direct get of {stream}: {type(error).__name__}") from error
    if headers["Status"] not in {_END_OF_BATCH, _NOT_FOUND}:
        raise NatsUnavailableError(f"direct get of {stream}: status {headers['Status']}")
    return messages, headers


def _stored(message: Msg, headers: dict[str, str]) -> Stored:
    return Stored(int(headers[SEQUENCE_HEADER]), headers[SUBJECT_HEADER], headers, message.data)
