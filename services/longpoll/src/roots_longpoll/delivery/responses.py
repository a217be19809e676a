"""The bodies of answers, written as bytes: an update is encoded once, and a body is joined from what is shared.

Source: docs/protocol.md, Delivery.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from roots_longpoll.delivery.cursor import base36
from roots_longpoll.delivery.ring import Event

GapReason = Literal["expired", "epoch"]

_encode = msgspec.json.Encoder().encode


class SharedBody:
    """The body that clients with the same paths, news and grant number share: only the uid in its middle differs.

    Shape: wire is what whoever sends it has put before the uid, once for all; uses counts the clients.
    """

    __slots__ = ("closing", "events", "opening", "uses", "wire")

    def __init__(self, events: list[Event], closing: bytes) -> None:
        self.events = events
        self.opening = opening(event.update for event in events)
        self.closing = closing
        self.wire = b""
        self.uses = 0

    def of(self, uid: bytes) -> bytes:
        """Return the whole body for one client."""
        return b"%b%b%b" % (self.opening, uid, self.closing)


def opening(updates: Iterable[bytes]) -> bytes:
    """Return the body up to the uid, which is all that clients with the same updates share."""
    return b'{"updates":[%b],"reconnectWith":"' % b",".join(updates)


def position(epoch_text: bytes, seq: int) -> bytes:
    """Return what stands between the uid and the grant number."""
    return b"/%b.%b." % (epoch_text, base36(seq))


def full(
    *,
    updates: Iterable[bytes],
    uid: bytes,
    position_text: bytes,
    grants_text: bytes,
    gaps: Sequence[tuple[str, GapReason]] = (),
    retry_ms: int | None = None,
) -> bytes:
    """Return a whole body with all its parts; `gaps` and `retry` are left out when there are none."""
    parts = [opening(updates), uid, position_text, grants_text, b'"']
    if gaps:
        parts += (b',"gaps":', _encode([{"path": path, "reason": reason} for path, reason in gaps]))
    if retry_ms is not None:
        parts.append(b',"retry":%d' % retry_ms)
    parts.append(b"}")
    return b"".join(parts)
