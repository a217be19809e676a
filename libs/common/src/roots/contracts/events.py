"""The envelope of an event: what the message of one change carries besides its bytes.

The message is UTF-8, at most `MAX_MESSAGE_BYTES`; the headers name the event, so that a repeated publish is stored
once, and the time of its commit, so that a replica can measure the delivery. Source: docs/protocol.md, NATS.
"""

import enum
import uuid
from dataclasses import dataclass

MAX_MESSAGE_BYTES = 64 * 1024
MAX_BATCH = 1000
"""Messages that a back end may publish with one request."""
MAX_BATCH_BYTES = 8 << 20
"""Bytes of that request: a thousand messages of 8 KiB, or a hundred of the largest."""

EVENT_ID_HEADER = "Nats-Msg-Id"
TIME_HEADER = "Roots-Time"
TRACEPARENT_HEADER = "traceparent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One message on one path.

    Units: committed_ns is nanoseconds since 1970, when the change was committed.
    """

    path: str
    message: bytes
    event_id: str
    committed_ns: int
    traceparent: str | None = None


class Outcome(enum.StrEnum):
    """What became of the publish of an event; the value is its name in metrics, traces, audit lines and answers."""

    STORED = "stored"
    REPEATED = "repeated"
    """An event with the same id was stored before."""
    REFUSED = "refused"
    """Another try will be refused, too."""
    UNAVAILABLE = "unavailable"
    """It was not stored; another try may succeed."""
    UNKNOWN = "unknown"
    """No answer came, so it may be stored; the event id makes another try safe."""

    @property
    def is_kept(self) -> bool:
        """Whether the stream has the event."""
        return self in _KEPT

    @property
    def is_retryable(self) -> bool:
        """Whether another try may succeed."""
        return self in _RETRYABLE


# Named once: a look-up of a member costs a microsecond, for each event that is published.
_KEPT = (Outcome.STORED, Outcome.REPEATED)
_RETRYABLE = (Outcome.UNAVAILABLE, Outcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Published:
    """What became of one event, its place in the stream if it has one, and why it is not stored if that is known."""

    outcome: Outcome
    seq: int = 0
    detail: str = ""


def new_event_id() -> str:
    """Return an id that no other event has."""
    return str(uuid.uuid4())


def headers_of(event: Event) -> dict[str, str]:
    """Return the NATS headers of `event`; a new dict each time, since nats-py changes the one it is given."""
    headers = {EVENT_ID_HEADER: event.event_id, TIME_HEADER: str(event.committed_ns)}
    if event.traceparent is not None:
        headers[TRACEPARENT_HEADER] = event.traceparent
    return headers
