"""The grant record of one client, and how connecting and disconnecting change it. Nothing here does I/O.

`version` counts the record's changes, and each path keeps the version of its last one, so that longpoll knows which of
them a client has not acknowledged. A new record does not begin at zero but at the version that its creator gives: see
`GrantStore` for why. Beside the paths the record keeps the identity of the client and the claims of its token that the
policy asks for, so that a changed policy can be applied to it (ADR 0008). Source: docs/protocol.md, Connecting.
"""

import itertools
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET

from roots.contracts.grant_records import (
    MAX_PATHS,
    MAX_PATHS_BYTES,
    GrantRecord,
    PathGrant,
    Seconds,
    TokenClaims,
)
from roots.contracts.identity import Identity
from roots.contracts.subjects import GRANT_LIFETIME_SECONDS
from roots.nats.streams import StreamState
from roots_subscriptions.errors import ForeignClientError
from roots_subscriptions.grants.revisions import Revision

Allows = Callable[[str, str, Identity], bool]
"""Returns whether `by` may grant a path to an identity: `Policy.allows`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a back end says with a grant.

    Shape: subject is whom the uid belongs to; until is when the grant ends, unix seconds; info is kept with the grant;
        revision is where the back end began to decide.
    """

    subject: str | None = None
    until: Seconds | None = None
    info: Any = UNSET
    revision: Revision | None = None


NO_TERMS = Terms()


def new_record(version: int) -> GrantRecord:
    """Return a record without paths, whose changes are counted from `version`; it expires until a path is connected."""
    return GrantRecord(version=version, expires=0)


def check_bound(record: GrantRecord, subject: str | None) -> None:
    """Return when the record is bound to `subject`, or is not bound. Errors: ForeignClientError."""
    if record.subject is not None and record.subject != subject:
        raise ForeignClientError


def is_announced(record: GrantRecord | None, paths: Collection[str], subject: str | None) -> bool:
    """Return whether a revocation that names one of `paths`, or `subject`, finds the record."""
    if record is None or (subject is not None and record.subject != subject):
        return False
    pending = _pending_of(record)
    return all(path in record.paths or path in pending for path in paths)


def announced(record: GrantRecord, paths: Collection[str], *, by: str, subject: str | None, now: float) -> GrantRecord:
    """Return `record` with `paths` pending, and bound to `subject`. Errors: ForeignClientError."""
    if subject is not None:
        check_bound(record, subject)
        record = msgspec.structs.replace(record, subject=subject)
    own = {path: by for path in paths if path not in record.paths}
    pending = _pending_of(record) | own
    # Those of a request that never came to its end would stay for as long as the record.
    return extended(msgspec.structs.replace(record, pending=own if len(pending) > MAX_PATHS else pending), now=now)


def connected(
    record: GrantRecord,
    paths: Collection[str],
    *,
    by: str,
    identity: Identity | None,
    allows: Allows,
    head: StreamState,
    now: float,
    terms: Terms = NO_TERMS,
) -> GrantRecord:
    """Return `record` with `paths` granted by `by` from `head` on, and alive for another lifetime.

    A path that is granted already keeps its start, and is confirmed to the client again. One that a back end granted
    stays as it is when the client itself asks for it too. New paths are granted in their order, as far as MAX_PATHS
    and MAX_PATHS_BYTES allow; the others are left out. When all are, it is the same record.

    `identity` is the client's own, None when a back end vouches for it, by its `terms`. The first subject, of a token
    or of a back end, binds the record. The newest token counts for all that apps have granted: what `allows` it no more
    is withdrawn, the rest ends with it.

    Errors: ForeignClientError.
    """
    version = record.version + 1
    until = terms.until
    granted = {path: grant for path, grant in record.paths.items() if not grant.has_ended(now)}
    if identity is not None:
        check_bound(record, identity.subject)
    if terms.subject is not None:
        check_bound(record, terms.subject)
        record = msgspec.structs.replace(record, subject=terms.subject)
    if identity is not None and identity.is_signed_in:
        until = identity.expires
        granted = {
            path: grant if grant.is_by_backend else msgspec.structs.replace(grant, until=until)
            for path, grant in granted.items()
            if path in paths or grant.is_by_backend or allows(grant.by, path, identity)
        }
        record = msgspec.structs.replace(record, subject=identity.subject, token_claims=_claims_of(identity))
    lost = record.paths.keys() - granted.keys()
    room_bytes = MAX_PATHS_BYTES - sum(map(len, granted))
    for path in paths:
        held = granted.get(path)
        if held is None and (len(granted) >= MAX_PATHS or len(path) > room_bytes):
            continue
        if held is None:
            room_bytes -= len(path)
            granted[path] = PathGrant(
                from_seq=head.last,
                epoch=head.epoch,
                since=version,
                version=version,
                until=until,
                by=by,
                at=int(now),
                info=terms.info,
            )
        elif held.is_by_backend and identity is not None:
            granted[path] = msgspec.structs.replace(held, version=version)
        else:
            granted[path] = msgspec.structs.replace(held, version=version, until=until, by=by, info=terms.info)
    if not granted.keys() & set(paths):
        return record
    withdrawn = _withdrawn(record, lost, version, granted)
    ended_paths = [path for path in lost if record.paths[path].has_ended(now)]
    record = msgspec.structs.replace(_without_pending(record, paths), version=version, paths=granted)
    record = msgspec.structs.replace(record, withdrawn=withdrawn)
    return extended(_with_ended(record, [*_ended_of(record), *ended_paths]), now=now)


def disconnected(record: GrantRecord, paths: Collection[str]) -> GrantRecord:
    """Return `record` with `paths` withdrawn; the same record when none of them was granted or pending."""
    lost = record.paths.keys() & set(paths)
    record = _without_pending(record, paths)
    if not lost:
        return record
    version = record.version + 1
    kept = {path: grant for path, grant in record.paths.items() if path not in lost}
    withdrawn = _withdrawn(record, lost, version, kept)
    record = msgspec.structs.replace(record, version=version, paths=kept, withdrawn=withdrawn)
    return _with_ended(record, [path for path in _ended_of(record) if path not in lost])


def reapplied(record: GrantRecord, allows: Allows) -> GrantRecord:
    """Return `record` without the paths that are allowed no more; the same record when all of them are."""
    identity = record.identity
    return disconnected(record, [path for path, grant in record.paths.items() if not allows(grant.by, path, identity)])


def ended(record: GrantRecord, *, now: float) -> GrantRecord:
    """Return `record` without the paths whose own end has come at `now`; the same record when there are none."""
    paths = [path for path, grant in record.paths.items() if grant.has_ended(now)]
    return _with_ended(disconnected(record, paths), [*_ended_of(record), *paths]) if paths else record


def extended(record: GrantRecord, *, now: float) -> GrantRecord:
    """Return `record` alive for a whole lifetime from `now`; no version of it changes."""
    return msgspec.structs.replace(record, expires=math.ceil(now) + GRANT_LIFETIME_SECONDS)


def by_path(record: GrantRecord) -> dict[str, str]:
    """Return every path that is granted or pending, with what granted it or is about to."""
    return _pending_of(record) | {path: grant.by for path, grant in record.paths.items()}


def _pending_of(record: GrantRecord) -> dict[str, str]:
    return {} if record.pending is UNSET else record.pending


def _without_pending(record: GrantRecord, paths: Collection[str]) -> GrantRecord:
    pending = _pending_of(record)
    left = {path: by for path, by in pending.items() if path not in paths}
    return record if len(left) == len(pending) else msgspec.structs.replace(record, pending=left or UNSET)


def _ended_of(record: GrantRecord) -> list[str]:
    return [] if record.ended is UNSET else record.ended


def _with_ended(record: GrantRecord, paths: Collection[str]) -> GrantRecord:
    """Return `record` with those of `paths` that are withdrawn as its ended ones."""
    ended_paths = [path for path in dict.fromkeys(paths) if path in record.withdrawn]
    return msgspec.structs.replace(record, ended=ended_paths or UNSET)


def _withdrawn(record: GrantRecord, lost: Collection[str], version: int, granted: Collection[str]) -> dict[str, int]:
    versions = {path: earlier for path, earlier in record.withdrawn.items() if path not in granted}
    versions |= {path: version for path in lost if path not in granted}
    newest = sorted(versions.items(), key=lambda item: item[1], reverse=True)[:MAX_PATHS]
    ends = itertools.accumulate(len(path) for path, _ in newest)
    return dict(reversed([item for item, end in zip(newest, ends, strict=True) if end <= MAX_PATHS_BYTES]))


def _claims_of(identity: Identity) -> TokenClaims:
    return TokenClaims(
        claims=dict(identity.claims),
        scopes=sorted(identity.scopes),
        roles=sorted(identity.roles),
        hear=list(identity.hear),
    )
