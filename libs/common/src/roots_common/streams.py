"""The extent of a JetStream stream, as its leader has it.

Asked and decoded in one place: two decoders that round a stream's time of creation otherwise would give two epochs, and
a position of one service would mean nothing to the other.
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec
import nats.errors
from nats.aio.client import Client


class StreamUnavailableError(Exception):
    """The stream's leader did not answer, there is none, or the stream does not exist yet; the text tells which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """A stream's extent; an empty one has first > last.

    Shape: limit_bytes is -1 for a stream without a limit.

    Units: epoch is milliseconds since 1970, when the stream was created: a position means nothing without it, since a
        stream that is created again starts its sequences anew.
    """

    epoch: int
    first: int
    last: int
    messages: int = 0
    bytes: int = 0
    limit_bytes: int = -1


class _State(msgspec.Struct):
    first_seq: int
    last_seq: int
    messages: int = 0
    bytes: int = 0


class _Config(msgspec.Struct):
    max_bytes: int = -1


class _Cluster(msgspec.Struct):
    leader: str = ""


class _Info(msgspec.Struct):
    created: datetime
    state: _State
    config: _Config
    cluster: _Cluster | None = None


async def stream_state(client: Client, stream: str, *, timeout_seconds: float) -> StreamState:
    """Return the extent of `stream`. Errors: StreamUnavailableError."""
    try:
        answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", timeout=timeout_seconds)
    except (nats.errors.Error, OSError) as error:
        raise StreamUnavailableError(f"{stream}: {type(error).__name__}") from error
    return state_of(stream, answer.data)


def state_of(stream: str, answer: bytes) -> StreamState:
    """Return the extent of `stream` that an answer of STREAM.INFO tells. Errors: StreamUnavailableError."""
    try:
        info = msgspec.json.decode(answer, type=_Info)
    except msgspec.DecodeError as error:
        raise StreamUnavailableError(f"{stream} does not exist yet") from error
    if info.cluster is not None and not info.cluster.leader:
        # A server without a majority still tells what it has; the others may have more, or a withdrawn grant (I5).
        raise StreamUnavailableError(f"{stream} has no leader")
    return StreamState(
        epoch=round(info.created.timestamp() * 1000),
        first=info.state.first_seq,
        last=info.state.last_seq,
        messages=info.state.messages,
        bytes=info.state.bytes,
        limit_bytes=info.config.max_bytes,
    )
