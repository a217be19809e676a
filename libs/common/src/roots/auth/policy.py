"""The policy file as a whole: which paths of an app a client may receive, who reads and writes, which origins count.

A policy is TOML: a table `[apps.NAME]` for each app, whose `allow` is a list of rules; a path that no rule allows is
refused. `[tokens]` has the accepted issuer (without it everyone is anonymous), and `[backends.NAME]` who may use
the back-end API. Every service reads the file by `parse_policy`, so that none takes in what another refuses.
Deciding does no I/O. Source: docs/operations.md, The policy file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec

from roots.auth.access import EVERYONE_ANONYMOUS, Access, parse_access
from roots.auth.backends import Backend, parse_backends
from roots.auth.patterns import Pattern, parse_pattern
from roots.auth.policy_file import (
    PolicyError,
    RequirementTable,
    convert,
    join_place,
    parse_permission,
    parse_requirement,
    parse_toml,
    with_line,
)
from roots.auth.token_rules import TokenRules
from roots.contracts.identity import ANYONE, SIGNED_IN, Identity, Requirement

APPS = "apps"
BACKENDS = "backends"

_APP_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a client may receive a path.

    Shape: rule is the place of the rule that decided, as `apps.tasks.allow[1]`, None when none is about the path;
        reason is a sentence for the one who wrote the policy, not for clients.
    """

    is_allowed: bool
    rule: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Allows who satisfies `requirement` the paths of any of `patterns`; `place` is where it stands in the file."""

    place: str
    patterns: tuple[Pattern, ...]
    requirement: Requirement

    def decide(self, path: str, identity: Identity) -> Decision | None:
        """Return what the rule says, None when it is not about `path`."""
        if any(pattern.matches(path, identity.claims) for pattern in self.patterns):
            shortfall = self.requirement.shortfall(identity)
            return Decision(is_allowed=shortfall is None, rule=self.place, reason=shortfall or "the rule allows it")
        if any(pattern.claims and pattern.for_anyone.matches(path) for pattern in self.patterns):
            reason = self.requirement.shortfall(identity) or "is for another value of the claim"
            return Decision(is_allowed=False, rule=self.place, reason=reason)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPolicy:
    """The rules of one app, and who may read and change what it has."""

    rules: tuple[Rule, ...]
    read: Requirement
    write: Requirement


@dataclass(frozen=True, kw_only=True)  # without slots, so that what follows from the rules can be cached
class Policy:
    """Every app's rules and every back end's, by name, and whose requests are accepted."""

    apps: Mapping[str, AppPolicy]
    access: Access = EVERYONE_ANONYMOUS
    backends: Mapping[str, Backend] = field(default_factory=dict)

    @property
    def tokens(self) -> TokenRules | None:
        """What a token has to be; None when everyone is anonymous."""
        return self.access.tokens

    def app(self, name: str) -> AppPolicy:
        """Return the app `name`; one that the policy lacks allows no path, and is read and changed by the default."""
        default = _default_requirement(has_tokens=self.tokens is not None)
        return self.apps.get(name) or AppPolicy(rules=(), read=default, write=default)

    def decide(self, app: str, path: str, identity: Identity) -> Decision:
        """Decide whether `identity` may receive `path` of `app`: the first rule that allows it counts."""
        known = self.apps.get(app)
        if known is None:
            return Decision(is_allowed=False, rule=None, reason=f"the policy has no app {app!r}")
        refusal = Decision(is_allowed=False, rule=None, reason="no rule of the app is about this path")
        for rule in known.rules:
            decision = rule.decide(path, identity)
            if decision is not None and decision.is_allowed:
                return decision
            if decision is not None and refusal.rule is None:
                refusal = decision
        if any(pattern is not None and pattern.matches(path) for pattern in map(_hear_pattern, identity.hear)):
            return Decision(is_allowed=True, rule="the token's roots.hear", reason="the issuer grants this path itself")
        return refusal

    def allows(self, by: str, path: str, identity: Identity) -> bool:
        """Return whether `by`, which is `apps.NAME` or `backends.NAME`, may grant `path` to `identity`."""
        kind, _, name = by.partition(".")
        if kind == APPS:
            return self.decide(name, path, identity).is_allowed
        backend = self.backends.get(name) if kind == BACKENDS else None
        return backend is not None and backend.may_grant(path)

    def relevant(self, identity: Identity) -> Identity:
        """Return what rules ask of `identity`: all that has to be kept of it to decide again."""
        claims, scopes, roles = self._asked
        return Identity(
            subject=identity.subject,
            claims={name: value for name, value in identity.claims.items() if name in claims},
            scopes=identity.scopes & scopes,
            roles=identity.roles & roles,
            hear=identity.hear,
            expires=identity.expires,
        )

    @cached_property
    def _asked(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """The claims, scopes and roles that rules ask for."""
        rules = [rule for app in self.apps.values() for rule in app.rules]
        claims = frozenset(claim for rule in rules for pattern in rule.patterns for claim in pattern.claims)
        scopes = frozenset(scope for rule in rules for scope in rule.requirement.scopes)
        return claims, scopes, frozenset(role for rule in rules for role in rule.requirement.roles)


class _RuleTable(RequirementTable, frozen=True, kw_only=True):
    paths: Annotated[list[str], msgspec.Meta(min_length=1)]


class _AppTable(msgspec.Struct, frozen=True, kw_only=True):
    allow: list[Any]
    read: Any = None
    write: Any = None


class _PolicyTable(msgspec.Struct, frozen=True, kw_only=True):
    apps: dict[str, Any] = {}
    tokens: Any = None
    origins: Any = None
    backends: dict[str, Any] = {}


def parse_policy(text: str, folder: Path = Path(), *, needs_backend_keys: bool = True) -> Policy:
    """Return the policy that `text` (TOML) states; an empty one allows nothing.

    Shape: folder is where relative names of key files begin. A service that is not given the keys of back ends has
        needs_backend_keys False: then a back end whose key file is not there is checked, and left out.
    Errors: PolicyError, with the line.
    """
    document = parse_toml(text)
    try:
        table: _PolicyTable = convert(document, _PolicyTable, place="")
        access = parse_access(document, folder)
        has_tokens = access.tokens is not None
        return Policy(
            apps={name: _parse_app(name, app, has_tokens=has_tokens) for name, app in table.apps.items()},
            access=access,
            backends=parse_backends(table.backends, folder, needs_keys=needs_backend_keys),
        )
    except PolicyError as error:
        raise with_line(error, text) from error


def _parse_app(name: str, app: object, *, has_tokens: bool) -> AppPolicy:
    place = join_place(APPS, name)
    if _APP_NAME.fullmatch(name) is None:
        raise PolicyError("an app's name is 1-64 of A-Z a-z 0-9 _ -", place)
    table: _AppTable = convert(app, _AppTable, place=place)
    default = _default_requirement(has_tokens=has_tokens)
    read, write = (
        default if value is None else parse_permission(value, place=f"{place}.{key}", has_tokens=has_tokens)
        for key, value in (("read", table.read), ("write", table.write))
    )
    rules = [
        _parse_rule(rule, f"{place}.allow[{index}]", has_tokens=has_tokens) for index, rule in enumerate(table.allow)
    ]
    return AppPolicy(rules=tuple(rules), read=read, write=write)


def _default_requirement(*, has_tokens: bool) -> Requirement:
    return SIGNED_IN if has_tokens else ANYONE


def _parse_rule(value: object, place: str, *, has_tokens: bool) -> Rule:
    table: _RuleTable = convert(value, _RuleTable, place=place)
    requirement = parse_requirement(table, place=place, has_tokens=has_tokens)
    patterns = []
    for index, text in enumerate(table.paths):
        try:
            pattern = parse_pattern(text, allows_placeholders=True)
        except ValueError as error:
            raise PolicyError(f"{text!r} is no pattern: {error}", f"{place}.paths[{index}]") from error
        if pattern.claims and requirement.is_anyone:
            raise PolicyError(f"{text!r} names a claim, and anyone has none", f"{place}.paths[{index}]")
        patterns.append(pattern)
    return Rule(place=place, patterns=tuple(patterns), requirement=requirement)


@lru_cache(maxsize=4096)
def _hear_pattern(text: str) -> Pattern | None:
    try:
        return parse_pattern(text)
    except ValueError:
        return None
