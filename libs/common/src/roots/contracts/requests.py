"""What the services ask each other over NATS: the bodies and limits of those requests.

Their subjects stand in `subjects`. Source: docs/protocol.md, NATS.
"""

from typing import Final

import msgspec

MAX_RENEWALS: Final = 1000
"""Uids in one renewal request. A uid takes 46 bytes in JSON, and a message has at most 128 KiB."""
RENEWAL_SECONDS: Final = 5.0
"""How long longpoll waits for the answer to a renewal request."""
RENEWAL_INTERVAL_SECONDS: Final = 60.0
"""How often a replica of longpoll reports whom it serves, unless it is configured otherwise."""


class RenewalReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the uids of one renewal request.

    Shape: renewed counts those whose record lives on, unknown has those without one; a uid in neither could not be
        looked up.
    """

    renewed: int = msgspec.field(name="touched")
    unknown: list[str]


class RenewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for an epoch that is newer than `epoch`, since the log of that one is shorter than it was."""

    epoch: int


class RenewReply(msgspec.Struct, frozen=True, kw_only=True):
    """The log's epoch now, or why it stays as it is."""

    epoch: int = 0
    error: str = ""


class RequestError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not understood."""

    error: str


class HeldPoll(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of one replica of longpoll to a request on `roots.clients.held`.

    Units: held is for how many seconds the client's poll has waited, None without a poll here.
    """

    replica: str
    held: float | None = None
