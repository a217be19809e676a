"""The extent of a JetStream stream, as its leader has it.

Decoded in one place: two decoders that round a stream's time of creation otherwise would give two epochs, and
a position of one service would mean nothing to the other.
"""

import math
import time
from dataclasses import dataclass
from datetime import datetime

import msgspec

wall_clock = time.time


class NatsUnavailableError(Exception):
    """NATS did not answer, or not with what was asked; the text states what is missing. Another try may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """A stream's extent; an empty one has first > last.

    Shape: limit_bytes is -1 for a stream without a limit; what is stored up to epoch_start is of an older epoch.

    Units: epoch is milliseconds since 1970, when the stream was created: a position means nothing without it, since a
        stream that is created again starts its sequences again. skew_seconds is how far this machine's clock is ahead
        of the leader's (below 0: behind), at least: the time of the round trip is not counted.
    """

    epoch: int
    first: int
    last: int
    messages: int = 0
    bytes: int = 0
    limit_bytes: int = -1
    skew_seconds: float = 0.0
    epoch_start: int = 0


class _State(msgspec.Struct):
    first_seq: int
    last_seq: int
    messages: int = 0
    bytes: int = 0
    subjects: dict[str, int] | None = None


class _Config(msgspec.Struct):
    max_bytes: int = -1


class _Cluster(msgspec.Struct):
    leader: str = ""


class Info(msgspec.Struct):
    """What STREAM.INFO answers, as far as it is used."""

    created: datetime
    state: _State
    config: _Config
    cluster: _Cluster | None = None
    total: int = 0
    ts: datetime | None = None


def state_of(stream: str, answer: bytes, *, asked_at: float = -math.inf, answered_at: float = math.inf) -> StreamState:
    """Return the extent of `stream` in an answer of STREAM.INFO. Errors: NatsUnavailableError."""
    info = info_of(stream, answer)
    return StreamState(
        epoch=round(info.created.timestamp() * 1000),
        # NATS begins at 0 with a stream that never had a message.
        first=max(info.state.first_seq, 1),
        last=info.state.last_seq,
        messages=info.state.messages,
        bytes=info.state.bytes,
        limit_bytes=info.config.max_bytes,
        skew_seconds=0.0 if info.ts is None else skew_seconds(info.ts.timestamp(), asked_at, answered_at),
    )


def skew_seconds(theirs: float, asked_at: float, answered_at: float) -> float:
    """Return how far our clock, read before and after, is ahead of one that read `theirs` between, at least."""
    return max(0.0, asked_at - theirs) + min(0.0, answered_at - theirs)


def info_of(stream: str, answer: bytes) -> Info:
    """Return an answer of STREAM.INFO. Errors: NatsUnavailableError."""
    try:
        info = msgspec.json.decode(answer, type=Info)
    except msgspec.DecodeError as error:
        raise NatsUnavailableError(f"{stream} does not exist yet") from error
    if info.cluster is not None and not info.cluster.leader:
        # A server without a majority still answers; the others may have more, or a withdrawn grant (I5).
        raise NatsUnavailableError(f"{stream} has no leader")
    return info
