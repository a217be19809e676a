"""Revisions: whether a revocation came between a back end's decision and the grant that follows from it.

A revision is a position in the bucket's log. Each revocation first writes a marker under a key of the bucket, and then
withdraws. A grant that was decided at a revision is refused when a marker that concerns it has a later position. There
are SLOTS keys, and what a revocation names is hashed to one of them. So the markers take little room however many
revocations there are, and need no end. Two names may share a key: then a back end decides once more than it had to.

The index reads the markers with the records. Source: docs/adr/0018.
"""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Self

from roots.contracts.grant_records import MAX_NUMBER

SLOTS = 1024
MARK_PREFIX = "revoked."
"""Begins the keys of the markers; no uid has this form."""


class Revision(NamedTuple):
    """A position in the bucket's log. Units: epoch is milliseconds since 1970, when the bucket was created."""

    epoch: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the revision that `text` is. Errors: ValueError."""
        epoch, _, seq = text.partition("-")
        if not (epoch.isascii() and epoch.isdigit() and seq.isascii() and seq.isdigit()) or len(text) > len(_LONGEST):
            raise ValueError("it is no revision")
        return cls(int(epoch), int(seq))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


_LONGEST = str(Revision(MAX_NUMBER, MAX_NUMBER))


def mark_of(*, uid: str | None, subject: str | None, path: str | None) -> str:
    """Return the key of a revocation's marker. With a uid or a subject it concerns all of their paths."""
    if uid is not None:
        return _key("uid", uid)
    return _key("path", path or "") if subject is None else _key("subject", subject)


def marks_about(uid: str, subjects: Iterable[str], paths: Iterable[str]) -> set[str]:
    """Return the keys of the markers that concern a grant of `paths` to `uid`, which belongs to `subjects`."""
    return {
        _key("uid", uid),
        *(_key("subject", subject) for subject in subjects),
        *(_key("path", path) for path in paths),
    }


def _key(kind: str, name: str) -> str:
    digest = hashlib.sha256(f"{kind} {name}".encode()).digest()
    return f"{MARK_PREFIX}{int.from_bytes(digest[:4], 'big') % SLOTS}"
