"""Verifies tokens: JWTs signed by a key that the policy names. PyJWT does it; this module configures what it accepts.

A key is for one algorithm, whatever a token's header says: `none`, or a public key taken for a secret, verify nothing.
A token has to end, and to name its subject and our audience. Source: RFC 8725; docs/protocol.md, Who asks.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any

import jwt
import msgspec

from roots.auth.token_rules import Key, TokenRules
from roots.contracts.identity import Identity, is_segment

MAX_TOKEN_BYTES = 8192
# The issuer's clock may be ahead of ours so much; an end is an end.
CLOCK_SKEW_SECONDS = 5
# A later end is one in milliseconds, or no end at all.
MAX_LIFETIME_SECONDS = 100 * 365 * 24 * 3600

FindKey = Callable[[str], Key | None]

_REQUIRED = ["exp", "sub", "aud"]
_REASONS: tuple[tuple[type[jwt.InvalidTokenError], str], ...] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidIssuerError, "issuer"),
    (jwt.InvalidSignatureError, "signature"),
    (jwt.MissingRequiredClaimError, "claims"),
    (jwt.InvalidIssuedAtError, "claims"),
)
_SENTENCES = {
    "oversize": f"The token has more than {MAX_TOKEN_BYTES} bytes.",
    "malformed": "The token is no signed JWT.",
    "key": "The token is signed by a key that is not known here.",
    "algorithm": "The token is signed by another algorithm than its key is for.",
    "signature": "The token's signature is wrong.",
    "expired": "The token has expired.",
    "not_yet": "The token is not valid yet.",
    "audience": "The token is for another audience.",
    "issuer": "The token is from another issuer.",
    "lifetime": "The token ends more than 100 years from now; exp is in seconds, not milliseconds.",
    "claims": "The token lacks a claim, or one has another form: it needs exp, sub and aud.",
}
# The reasons to refuse a token, as labels of a metric.
REASONS = tuple(_SENTENCES)


class TokenError(Exception):
    """A token is refused; `reason` is a label for metrics, `sentence` the text for its bearer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sentence = _SENTENCES[reason]


class _Roots(msgspec.Struct, frozen=True):
    hear: Annotated[list[Annotated[str, msgspec.Meta(max_length=255)]], msgspec.Meta(max_length=32)] = []


class _Claims(msgspec.Struct, frozen=True):
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    exp: int | float
    scope: str | list[str] = ""
    scp: str | list[str] = ""
    roles: str | list[str] = ""
    roots: _Roots = _Roots()


class TokenVerifier:
    """Verifies tokens by `rules`; `find_key` is asked for a key that the rules lack."""

    def __init__(self, rules: TokenRules, find_key: FindKey | None = None) -> None:
        self._rules = rules
        self._find_key = find_key

    def verify(self, token: str) -> Identity:
        """Return who the bearer of `token` is.

        Errors: TokenError; what `find_key` raises.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenError("oversize")
        try:
            return self._verify(token)
        except jwt.InvalidTokenError as error:
            reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "malformed")
            raise TokenError(reason) from error
        except (ValueError, TypeError, OverflowError, RecursionError, jwt.PyJWTError) as error:
            # What a signed token can hold that no library expects: infinite times, arrays in the place of text.
            raise TokenError("malformed") from error

    def _verify(self, token: str) -> Identity:
        header = jwt.get_unverified_header(token)
        key = self._key_of(header)
        if header.get("alg") != key.algorithm:
            raise TokenError("algorithm")
        claims = jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm],
            audience=self._rules.audience,
            issuer=self._rules.issuer,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": _REQUIRED, "verify_iss": self._rules.issuer is not None, "verify_jti": False},
        )
        return _identity_of(claims)

    def _key_of(self, header: dict[str, Any]) -> Key:
        kid = header.get("kid")
        keys = self._rules.keys
        if kid is None and self._rules.jwks is None and len(keys) == 1:
            return next(iter(keys.values()))
        key = keys.get(kid) if isinstance(kid, str) else None
        if key is None and isinstance(kid, str) and self._find_key is not None:
            key = self._find_key(kid)
        if key is None:
            raise TokenError("key")
        return key


def _identity_of(claims: dict[str, Any]) -> Identity:
    try:
        known = msgspec.convert(claims, _Claims)
        # JSON can name half a surrogate pair, which is no text and could not be kept with a grant.
        "".join([known.sub, *known.roots.hear]).encode()
        if "\0" in known.sub:
            # Postgres text, where a subject stands beside its idempotency keys, can't hold it.
            raise TokenError("claims")
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise TokenError("claims") from error
    expires, now = int(known.exp), time.time()
    if expires <= now:
        raise TokenError("expired")
    if expires > now + MAX_LIFETIME_SECONDS:
        raise TokenError("lifetime")
    return Identity(
        subject=known.sub,
        claims={name: text for name, value in claims.items() if (text := _segment(value)) is not None},
        scopes=_words(known.scope) | _words(known.scp),
        roles=_words(known.roles),
        hear=tuple(known.roots.hear),
        expires=expires,
    )


def _segment(value: object) -> str | None:
    """Return a claim's value as one segment of a path, None when it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value)
    return text if is_segment(text) else None


def _words(value: str | list[str]) -> frozenset[str]:
    return frozenset(value.split() if isinstance(value, str) else value)
