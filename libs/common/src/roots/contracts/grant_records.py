"""The grant record of one uid as it is stored: subscriptions writes it, longpoll reads it.

One decoder for both, or a record that only one of them can read would be a grant that nobody can withdraw. Source:
docs/protocol.md, Connecting.
"""

from typing import TypeAlias

import msgspec

from roots.contracts.identity import Identity
from roots.contracts.subjects import GRANT_LIFETIME_SECONDS, is_path

MAX_PATHS = 128
"""Paths that one client may hear, and withdrawn ones that its record remembers."""
MAX_PATHS_BYTES = 8192
"""Bytes of those paths together, and of the withdrawn ones: 64 for each of MAX_PATHS."""
MAX_NUMBER = (1 << 53) - 1
"""The highest number of a record; all readers of JSON agree on those up to it."""

_BY_BACKEND = "backends."

Seconds: TypeAlias = int | float


class UnreadableRecordError(ValueError):
    """The bytes are no grant record."""


class PathGrant(msgspec.Struct, frozen=True, kw_only=True):
    """One path that the client may hear.

    Shape: by is what granted it, `apps.NAME` or `backends.NAME` of the policy.
    Units: from_seq is the last sequence of the event stream when granted, in the stream of `epoch` (milliseconds since
        1970, when it was created); since is the number of the change that granted it, at the unix seconds of that, n
        the number of the change that confirmed it last; until is unix seconds, None for no end of its own.
    """

    from_seq: int = msgspec.field(name="from")
    epoch: int
    since: int
    n: int
    until: Seconds | None = None
    by: str = ""
    at: int = 0

    @property
    def is_by_backend(self) -> bool:
        """Whether a back end granted it, whose word is above the client's."""
        return self.by.startswith(_BY_BACKEND)

    def has_ended(self, now: float) -> bool:
        """Tell whether its own end has come at `now`."""
        return self.until is not None and self.until <= now


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the client's last token said, as far as the policy asked for it then."""

    claims: dict[str, str] = {}
    scopes: list[str] = []
    roles: list[str] = []
    hear: list[str] = []


class GrantRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything granted to one uid.

    Shape: subject is whom the uid is bound to, None while no token came with it; gone has the number of the change that
        withdrew each path, the newest MAX_PATHS.
    Units: expires is unix seconds.
    """

    subject: str | None = None
    n: int
    paths: dict[str, PathGrant] = {}
    gone: dict[str, int] = {}
    expires: Seconds
    said: Said = Said()

    @property
    def identity(self) -> Identity:
        """Who the client is, as far as the record knows."""
        return Identity(
            subject=self.subject,
            claims=self.said.claims,
            scopes=frozenset(self.said.scopes),
            roles=frozenset(self.said.roles),
            hear=tuple(self.said.hear),
        )

    def has_room_for(self, path: str) -> bool:
        """Tell whether the client may hear `path` beside those that it hears."""
        return len(self.paths) < MAX_PATHS and sum(map(len, self.paths)) + len(path) <= MAX_PATHS_BYTES

    @property
    def next_end(self) -> Seconds | None:
        """When the first of its paths ends by itself, unix seconds; None when none does."""
        return min((grant.until for grant in self.paths.values() if grant.until is not None), default=None)

    def is_live(self, now: float) -> bool:
        """Tell whether the record still counts at `now`."""
        return now < self.expires

    def is_half_over(self, now: float) -> bool:
        """Tell whether less than half of the lifetime is left at `now`."""
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
    numbers: list[Seconds] = [record.n, record.expires, *record.gone.values()]
    for grant in grants:
        numbers += (grant.from_seq, grant.epoch, grant.since, grant.n, grant.at, grant.until or 0)
    if min(numbers) < 0 or max(numbers) > MAX_NUMBER:
        raise UnreadableRecordError("a number is out of range")
    if not (all(map(is_path, record.paths)) and all(map(is_path, record.gone))):
        raise UnreadableRecordError("a path is none")
    return record
