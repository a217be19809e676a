"""Who sends a request: the token in its header or cookie, verified; and whether a foreign page makes a browser send it.

A refusal is a problem with `WWW-Authenticate` (RFC 6750). Source: docs/protocol.md, Who asks.
"""

from dataclasses import dataclass

import falcon
from prometheus_client import CollectorRegistry, Counter

from roots.auth.access import EVERYONE_ANONYMOUS, Access
from roots.auth.jwks import JwksKeys, KeysUnavailableError
from roots.auth.tokens import REASONS, TokenError, TokenVerifier
from roots.contracts.identity import ANONYMOUS, Identity, Requirement
from roots.http.web import Problem

RETRY_AFTER_SECONDS = 1

_CHALLENGE = 'Bearer realm="roots"'
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# `none` is a person's own doing, as a typed address.
_OWN_SITES = frozenset({"same-origin", "none"})


@dataclass(frozen=True, slots=True)
class _State:
    """What requests are checked by; replaced as a whole, since many threads read it."""

    access: Access
    verifier: TokenVerifier | None
    jwks: JwksKeys | None


class Authenticator:
    """Finds who sends a request, by the rules that `use` was last given. Safe to use from any thread."""

    def __init__(self, service: str, registry: CollectorRegistry) -> None:
        self._state = _State(EVERYONE_ANONYMOUS, None, None)
        self._tokens = Counter(
            f"roots_{service}_tokens_total",
            "Tokens that requests came with, by result: good, or why they were refused.",
            ("result",),
            registry=registry,
        )
        self._fetches = Counter(
            f"roots_{service}_jwks_fetches_total",
            "Fetches of the issuer's keys, by result: ok or failed.",
            ("result",),
            registry=registry,
        )
        for result in ("good", "unavailable", *REASONS):
            self._tokens.labels(result)
        for result in ("ok", "failed"):
            self._fetches.labels(result)

    def use(self, access: Access) -> None:
        """Check requests by `access` from now on; the issuer's keys that were fetched before are kept."""
        before = self._state.jwks
        url = None if access.tokens is None else access.tokens.jwks
        jwks = before if before is not None and before.url == url else None
        if jwks is None and url is not None:
            jwks = JwksKeys(url, self._count_fetch)
            jwks.start()
        verifier = None
        if access.tokens is not None:
            verifier = TokenVerifier(access.tokens, None if jwks is None else jwks.find)
        self._state = _State(access, verifier, jwks)
        if before is not None and before is not jwks:
            before.stop()

    def close(self) -> None:
        """Fetch no keys any more."""
        if self._state.jwks is not None:
            self._state.jwks.stop()

    def authenticate(self, req: falcon.Request) -> Identity:
        """Return who sends `req`.

        Errors: Problem 401 for a token that is refused, 403 for a change that a foreign page asks for, 503 while it
            is unknown whether the token is good.
        """
        state = self._state
        token = None if state.verifier is None else _bearer_token(req)
        is_cookie = False
        if token is None and state.access.tokens is not None:
            token = _cookie_token(req, state.access.tokens.cookie)
            is_cookie = token is not None
        if (token is None or is_cookie) and req.method not in _SAFE_METHODS:
            _check_site(req, state.access.origins, has_cookie=is_cookie)
        if token is None or state.verifier is None:
            return ANONYMOUS
        return self._verify(state.verifier, token)

    def _verify(self, verifier: TokenVerifier, token: str) -> Identity:
        try:
            identity = verifier.verify(token)
        except TokenError as error:
            self._tokens.labels(error.reason).inc()
            challenge = f'{_CHALLENGE}, error="invalid_token", error_description="{error.sentence}"'
            raise Problem(401, error.sentence, www_authenticate=challenge, reason=error.reason) from error
        except KeysUnavailableError as error:
            self._tokens.labels("unavailable").inc()
            detail = "The issuer's keys can't be fetched now; try again."
            raise Problem(503, detail, retry_after_seconds=RETRY_AFTER_SECONDS) from error
        self._tokens.labels("good").inc()
        return identity

    def _count_fetch(self, is_ok: bool) -> None:  # noqa: FBT001  # a listener's one argument
        self._fetches.labels("ok" if is_ok else "failed").inc()


def check_permission(requirement: Requirement, identity: Identity) -> None:
    """Let `identity` do what is for `requirement`. Errors: Problem 401 without a token, 403 when it is not enough."""
    shortfall = requirement.shortfall(identity)
    if shortfall is None:
        return
    if not identity.is_signed_in:
        raise Problem(401, "This needs a token.", www_authenticate=_CHALLENGE)
    challenge = f'{_CHALLENGE}, error="insufficient_scope"'
    if requirement.scopes:
        challenge += f', scope="{" ".join(sorted(requirement.scopes))}"'
    raise Problem(403, f"This {shortfall}, which the token lacks.", www_authenticate=challenge)


def _bearer_token(req: falcon.Request) -> str | None:
    """Return the token of the Authorization header, None when there is none; another scheme is for somebody else."""
    scheme, _, token = (req.get_header("Authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _cookie_token(req: falcon.Request, name: str | None) -> str | None:
    values = [] if name is None else req.get_cookie_values(name) or []
    # Of two cookies with one name, a neighbouring site may have set the first: neither is believed.
    return values[0] if len(values) == 1 else ("" if values else None)


def _check_site(req: falcon.Request, origins: frozenset[str], *, has_cookie: bool) -> None:
    """Refuse a change that a page of a foreign origin asks for: a browser adds cookies, and reaches where we can't.

    Errors: Problem 403.
    """
    site, origin = req.get_header("Sec-Fetch-Site"), req.get_header("Origin")
    if site in _OWN_SITES or origin in origins:
        return
    # A browser does not send the site over an insecure connection; the origin's host is compared there.
    if site is None and origin is not None and _is_own_host(req, origin):
        return
    # Whoever is no browser sends neither, and uses the header for its token.
    if site is None and origin is None and not has_cookie:
        return
    raise Problem(403, "A page of another origin may change nothing here.", reason="cross-site")


def _is_own_host(req: falcon.Request, origin: str) -> bool:
    scheme, _, host = origin.partition("://")
    return scheme in {"http", "https"} and host != "" and host.lower() == (req.get_header("Host") or "").lower()
