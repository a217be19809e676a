"""The grant record of one uid as it is stored: subscriptions writes it, longpoll reads it.

Both use one decoder: a record that only longpoll could read would be a grant that can't be withdrawn. Source:
docs/protocol.md, Connecting.
"""

from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from roots.contracts.identity import Identity
from roots.contracts.subjects import GRANT_LIFETIME_SECONDS, is_path

MAX_PATHS = 128
"""Paths that one client may receive, and withdrawn ones that its record remembers."""
MAX_PATHS_BYTES = 8192
"""Bytes of those paths together, and of the withdrawn ones: 64 for each of MAX_PATHS."""
MAX_INFO_BYTES = 512
"""Bytes of JSON that a back end may have kept with a grant: 64 KiB in a record of MAX_PATHS."""
MAX_NUMBER = (1 << 53) - 1
"""The highest number of a record; all readers of JSON agree on those up to it."""

_BY_BACKEND = "backends."

Seconds: TypeAlias = int | float


class UnreadableRecordError(ValueError):
    """The bytes are no grant record."""


class PathGrant(msgspec.Struct, frozen=True, kw_only=True):
    """One path that the client may receive.

    Shape: by is what granted it, `apps.NAME` or `backends.NAME` of the policy; info is what that back end has kept with
        it.
    Units: from_seq is the last sequence of the event stream when granted, in the stream of `epoch` (milliseconds since
        1970, when it was created); since is the version of the record that granted it, at the unix seconds of
        that change, version the one that confirmed it last; until is unix seconds, None for no end of its own.
    """

    from_seq: int = msgspec.field(name="from")
    epoch: int
    since: int
    version: int = msgspec.field(name="n")
    until: Seconds | None = None
    by: str = ""
    at: int = 0
    info: Any = UNSET

    @property
    def is_by_backend(self) -> bool:
        """Whether a back end granted it; such a grant is not changed when the client connects the path."""
        return self.by.startswith(_BY_BACKEND)

    def has_ended(self, now: float) -> bool:
        """Return whether its own end has come at `now`."""
        return self.until is not None and self.until <= now


class TokenClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the policy asked of the client's last token."""

    claims: dict[str, str] = {}
    scopes: list[str] = []
    roles: list[str] = []
    hear: list[str] = []


class GrantRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything granted to one uid.

    Shape: subject is whom the uid is bound to, None while nobody has said it; version counts its changes; withdrawn
        has the version that withdrew each path, the newest MAX_PATHS; pending has what a back end is about to grant,
        each path with the back end: it grants nothing, but a revocation finds and removes it; ended has those withdrawn
        paths whose own end had come.
    Units: expires is unix seconds.
    """

    subject: str | None = None
    version: int = msgspec.field(name="n")
    paths: dict[str, PathGrant] = {}
    withdrawn: dict[str, int] = msgspec.field(default_factory=dict, name="gone")
    expires: Seconds
    token_claims: TokenClaims = msgspec.field(default=TokenClaims(), name="said")
    pending: dict[str, str] | UnsetType = UNSET
    ended: list[str] | UnsetType = UNSET

    @property
    def identity(self) -> Identity:
        """Who the client is, as far as the record knows."""
        return Identity(
            subject=self.subject,
            claims=self.token_claims.claims,
            scopes=frozenset(self.token_claims.scopes),
            roles=frozenset(self.token_claims.roles),
            hear=tuple(self.token_claims.hear),
        )

    def has_room_for(self, path: str) -> bool:
        """Return whether the client may receive `path` beside those that it receives."""
        return len(self.paths) < MAX_PATHS and sum(map(len, self.paths)) + len(path) <= MAX_PATHS_BYTES

    @property
    def next_end(self) -> Seconds | None:
        """When the first of its paths ends by itself, unix seconds; None when none does."""
        return min((grant.until for grant in self.paths.values() if grant.until is not None), default=None)

    def is_live(self, now: float) -> bool:
        """Return whether the record still counts at `now`."""
        return now < self.expires

    def is_half_over(self, now: float) -> bool:
        """Return whether less than half of the lifetime is left at `now`."""
        return self.expires - now < GRANT_LIFETIME_SECONDS / 2


_decoder = msgspec.json.Decoder(GrantRecord)


def read_record(raw: bytes) -> GrantRecord:
    """Return the record that `raw` is.

    Errors: UnreadableRecordError when it is none: no JSON of this form, a number out of range, or a path that is none.
    """
    try:
        record = _decoder.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UnreadableRecordError(str(error)) from error
    grants = record.paths.values()
    numbers: list[Seconds] = [record.version, record.expires, *record.withdrawn.values()]
    for grant in grants:
        numbers += (grant.from_seq, grant.epoch, grant.since, grant.version, grant.at, grant.until or 0)
    if min(numbers) < 0 or max(numbers) > MAX_NUMBER:
        raise UnreadableRecordError("a number is out of range")
    pending = {} if record.pending is UNSET else record.pending
    if not all(map(is_path, [*record.paths, *record.withdrawn, *pending])):
        raise UnreadableRecordError("a path is none")
    return record
