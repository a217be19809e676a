"""Identities, as verified tokens state them, and the requirements that rules of the policy put on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from roots.contracts.subjects import is_path

_DOT_SEGMENTS = frozenset({".", ".."})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a token states about its bearer; without a token, an anonymous client.

    Shape: claims has the token's claims that can stand for one segment of a path, `sub` among them; `hear` has the
        patterns of paths that the issuer grants by itself.
    Units: expires is unix seconds, None without a token.
    """

    subject: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    hear: tuple[str, ...] = ()
    expires: int | None = None

    @property
    def is_signed_in(self) -> bool:
        """Whether a token says who this is."""
        return self.subject is not None


ANONYMOUS = Identity()


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Who satisfies a rule: anyone, or a signed-in identity with all `scopes` and, if there are any, one of `roles`."""

    is_anyone: bool = False
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()

    def shortfall(self, identity: Identity) -> str | None:
        """Return what `identity` lacks, None when it satisfies the requirement."""
        if self.is_anyone:
            return None
        if not identity.is_signed_in:
            return "needs a token"
        if missing := self.scopes - identity.scopes:
            return f"needs the scope {' '.join(sorted(missing))}"
        if self.roles and not self.roles & identity.roles:
            return f"needs the role {' or '.join(sorted(self.roles))}"
        return None


ANYONE = Requirement(is_anyone=True)
SIGNED_IN = Requirement()


def is_segment(value: str) -> bool:
    """Return whether a claim's value can stand for one segment of a path.

    `.` and `..` are segments, but to whatever reads a path as a file's name they are others, so a claim can't be them.
    """
    return "/" not in value and value not in _DOT_SEGMENTS and is_path(value)
