"""The extent of a JetStream stream and the subjects in it, as its leader has them.

Asked and decoded in one place: two decoders that round a stream's time of creation otherwise would give two epochs, and
a position of one service would mean nothing to the other.
"""

import math
import time
from dataclasses import dataclass
from datetime import datetime

import msgspec
import nats.errors
from nats.aio.client import Client

from roots.contracts.subjects import JETSTREAM_API

wall_clock = time.time

# Two pages of subjects have so many in common, unless some of the first were removed meanwhile.
_PAGE_OVERLAP = 5_000


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


class _Info(msgspec.Struct):
    created: datetime
    state: _State
    config: _Config
    cluster: _Cluster | None = None
    total: int = 0
    ts: datetime | None = None


async def stream_state(client: Client, stream: str, *, timeout_seconds: float) -> StreamState:
    """Return the extent of `stream`. Errors: NatsUnavailableError."""
    asked_at = wall_clock()
    answer = await _ask(client, stream, b"", timeout_seconds)
    return state_of(stream, answer, asked_at=asked_at, answered_at=wall_clock())


async def stream_subjects(client: Client, stream: str, pattern: str, *, timeout_seconds: float) -> set[str]:
    """Return the subjects that `pattern` matches and that have a message in `stream`; none that stays is missed.

    Errors: NatsUnavailableError.
    """
    found: set[str] = set()
    offset, latest = 0, ""
    while True:
        query = msgspec.json.encode({"subjects_filter": pattern, "offset": offset})
        info = _info_of(stream, await _ask(client, stream, query, timeout_seconds))
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


def state_of(stream: str, answer: bytes, *, asked_at: float = -math.inf, answered_at: float = math.inf) -> StreamState:
    """Return the extent of `stream` in an answer of STREAM.INFO. Errors: NatsUnavailableError."""
    info = _info_of(stream, answer)
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


async def _ask(client: Client, stream: str, query: bytes, timeout_seconds: float) -> bytes:
    try:
        answer = await client.request(f"{JETSTREAM_API}.STREAM.INFO.{stream}", query, timeout=timeout_seconds)
    except (nats.errors.Error, OSError) as error:
        raise NatsUnavailableError(f"{stream}: {type(error).__name__}") from error
    return answer.data


def _info_of(stream: str, answer: bytes) -> _Info:
    try:
        info = msgspec.json.decode(answer, type=_Info)
    except msgspec.DecodeError as error:
        raise NatsUnavailableError(f"{stream} does not exist yet") from error
    if info.cluster is not None and not info.cluster.leader:
        # A server without a majority still answers; the others may have more, or a withdrawn grant (I5).
        raise NatsUnavailableError(f"{stream} has no leader")
    return info
