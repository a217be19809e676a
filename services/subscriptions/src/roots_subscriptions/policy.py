"""Which paths of an app a client may hear: the rules of a policy file, and nothing that does I/O.

A policy is TOML: a table `[apps.NAME]` for each app, whose `allow` is a list of rules; a path that no rule allows is
refused. A pattern has the form of a path, in which `*` stands for one segment and `**` for any number of them, also
none: `users/**` allows `users`, `users/7` and `users/7/mail`. A wildcard is a whole segment, so `user*` is a mistake.
Paths are compared as they are written: nothing is decoded, normalised or folded, and `..` is a segment like any other.

A key that is not known is an error: a rule that is silently ignored would open or close a door.
"""

import itertools
import re
import tomllib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from roots_common.subjects import is_path
from roots_subscriptions.errors import PolicyError

ONE_SEGMENT = "*"
ANY_SEGMENTS = "**"
# A path has no more, so that a pattern that asks for more would match nothing.
MAX_SEGMENTS = 8
_APP_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A set of paths; `regex` matches a path with a `/` after its last segment too."""

    text: str
    regex: re.Pattern[str]

    def matches(self, path: str) -> bool:
        """Tell whether `path` is one of the set; what is not a path at all never is."""
        return is_path(path) and self.regex.fullmatch(f"{path}/") is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Allows `who` to hear the paths of any of `patterns`."""

    patterns: tuple[Pattern, ...]
    who: Literal["anyone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPolicy:
    """The rules of one app."""

    rules: tuple[Rule, ...]

    def allows(self, path: str) -> bool:
        """Tell whether anyone may hear `path`."""
        return any(pattern.matches(path) for rule in self.rules for pattern in rule.patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every app's rules, by the app's name."""

    apps: dict[str, AppPolicy]


class _RuleTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    paths: Annotated[list[str], msgspec.Meta(min_length=1)]
    who: Literal["anyone"]


class _AppTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    allow: list[_RuleTable]


class _PolicyTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    # Each app is converted by itself: a message of msgspec leaves out the keys of a dict, and so the app's name.
    apps: dict[str, Any]


def parse_policy(text: str) -> Policy:
    """Return the policy that `text` (TOML) states.

    Errors: PolicyError that names the line when it is not TOML, or else the table and key at fault.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"it is not TOML: {error}") from error
    table = _convert(document, _PolicyTable, place="")
    return Policy(apps={name: _parse_app(name, app) for name, app in table.apps.items()})


def parse_pattern(text: str) -> Pattern:
    """Return the set of paths that `text` describes. Errors: ValueError when it is no pattern."""
    segments = text.split("/")
    if len(segments) - segments.count(ANY_SEGMENTS) > MAX_SEGMENTS:
        raise ValueError(f"a path has at most {MAX_SEGMENTS} segments")
    # Each `**` multiplies the ways to try; this bound keeps the worst pattern under a thousand steps.
    if (ANY_SEGMENTS, ANY_SEGMENTS) in itertools.pairwise(segments):
        raise ValueError(f"'{ANY_SEGMENTS}' needs no second one beside it")
    return Pattern(text=text, regex=re.compile("".join(_segment_regex(segment) for segment in segments)))


def _parse_app(name: str, app: object) -> AppPolicy:
    place = f"apps.{name}"
    if _APP_NAME.fullmatch(name) is None:
        raise PolicyError("an app's name is 1-64 of A-Z a-z 0-9 _ -", place)
    table = _convert(app, _AppTable, place=place)
    return AppPolicy(
        rules=tuple(_parse_rule(rule, f"{place}.allow[{index}]") for index, rule in enumerate(table.allow))
    )


def _parse_rule(rule: _RuleTable, place: str) -> Rule:
    patterns = []
    for index, text in enumerate(rule.paths):
        try:
            patterns.append(parse_pattern(text))
        except ValueError as error:
            raise PolicyError(f"{text!r} is no pattern: {error}", f"{place}.paths[{index}]") from error
    return Rule(patterns=tuple(patterns), who=rule.who)


def _segment_regex(segment: str) -> str:
    """Return the regex of one segment and the `/` that ends it; the matched path ends with one too."""
    if segment == ANY_SEGMENTS:
        return "(?:[^/]+/)*"
    if segment == ONE_SEGMENT:
        return "[^/]+/"
    if not is_path(segment):
        raise ValueError("a segment is '*', '**', or 1-64 of A-Z a-z 0-9 _ - . ~ @ + =")
    return f"{re.escape(segment)}/"


def _convert(value: object, type_: type[Any], *, place: str) -> Any:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        problem, _, inner = str(error).partition(" - at `")
        inner = inner.rstrip("`").removeprefix("$")
        raise PolicyError(problem, f"{place}{inner}".lstrip(".")) from error
