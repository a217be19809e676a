"""The policy file (TOML): read, checked, and every mistake named with its line.

An unknown key is an error: a rule that is silently ignored would grant or refuse access. docs/operations.md describes
what is in the file; `policy.parse_policy` reads it.
"""

import bisect
import json
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from roots.contracts.identity import ANYONE, SIGNED_IN, Requirement

# As a ConfigMap of Kubernetes may have. What is larger is not read, since it could not be watched either.
MAX_FILE_BYTES = 1 << 20

_STEP = re.compile(r'\[(\d+)\]|"((?:[^"\\]|\\.)*)"|([^."\[\]]+)')
_PLAIN_KEY = re.compile(r'[^."\[\]\\]+')
# Where tomllib says that it stopped; without a number at the end of the text.
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)$")
# What closes an array, or an array in an inline table of an array, that goes on after a line.
_CLOSINGS = ("", "]", "]}", "]}]")
_WHO = {"anyone": ANYONE, "signed-in": SIGNED_IN}
_MAX_NAMES = 64


class PolicyError(Exception):
    """A policy file can't be used.

    Shape: `place` is the table or key at fault as `apps.tasks.allow[0].who`, or empty; `problem` what is wrong there;
        `line` the line of the file, when it is known.
    """

    def __init__(self, problem: str, place: str = "", line: int | None = None) -> None:
        where = ", ".join(filter(None, [f"line {line}" if line is not None else "", place]))
        super().__init__(f"{where}: {problem}" if where else problem)
        self.problem = problem
        self.place = place
        self.line = line


class RequirementTable(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that say whom a rule or a permission is for."""

    who: str | None = None
    scopes: list[str] = []
    roles: list[str] = []


def read_text(file: Path) -> str:
    """Return the text of `file`. Errors: PolicyError."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"it can't be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise PolicyError(f"it has more than {MAX_FILE_BYTES} bytes", line=content.count(b"\n") + 1)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise PolicyError("it is not UTF-8", line=content.count(b"\n", 0, error.start) + 1) from error


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of `text`. Errors: PolicyError, with the line."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_LINE.search(str(error))
        line = int(match[1]) if match else len(text.rstrip("\n").split("\n"))
        raise PolicyError(f"it is not TOML: {error}", line=line) from error
    except (ValueError, RecursionError) as error:
        # What tomllib hands on of Python's own limits.
        problem = (
            "a value is nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
        )
        raise PolicyError(problem, line=_first_failing_line(text)) from error


def convert(table: object, type_: type[Any], *, place: str) -> Any:
    """Return `table` as the msgspec Struct `type_`. Errors: PolicyError, for a key that `type_` lacks too."""
    if isinstance(table, dict):
        known = {field.encode_name for field in msgspec.structs.fields(type_)}
        for key in table:
            if key not in known:
                raise PolicyError(f"there is no such key here, but {', '.join(sorted(known))}", join_place(place, key))
    try:
        return msgspec.convert(table, type_)
    except msgspec.ValidationError as error:
        problem, _, inner = str(error).partition(" - at `")
        inner = inner.rstrip("`").removeprefix("$")
        raise PolicyError(problem, f"{place}{inner}".lstrip(".")) from error


def join_place(place: str, key: str) -> str:
    """Return the place of `key` in the table at `place`, which is empty for the file; an unusual key is quoted."""
    key = key if _PLAIN_KEY.fullmatch(key) else json.dumps(key)
    return f"{place}.{key}" if place else key


def parse_requirement(table: RequirementTable, *, place: str, has_tokens: bool) -> Requirement:
    """Return the requirement of `table`; scopes or roles alone mean a signed-in identity. Errors: PolicyError."""
    who, scopes, roles = table.who, table.scopes, table.roles
    if who is None and not scopes and not roles:
        raise PolicyError("it does not say who: anyone, signed-in, or scopes or roles", place)
    named = _WHO.get(who or "signed-in")
    if named is None:
        raise PolicyError(f"{who!r} is none of {', '.join(_WHO)}", f"{place}.who")
    if named.is_anyone and (scopes or roles):
        raise PolicyError("anyone has neither scopes nor roles", place)
    for key, names in (("scopes", scopes), ("roles", roles)):
        if len(names) > _MAX_NAMES:
            raise PolicyError(f"there are more than {_MAX_NAMES}", f"{place}.{key}")
        for index, name in enumerate(names):
            if not name or not name.isprintable() or " " in name:
                raise PolicyError("a name has visible characters and no space", f"{place}.{key}[{index}]")
    if not named.is_anyone and not has_tokens:
        raise PolicyError("without [tokens] no client is signed in", place)
    return Requirement(is_anyone=named.is_anyone, scopes=frozenset(scopes), roles=frozenset(roles))


def parse_permission(value: object, *, place: str, has_tokens: bool) -> Requirement:
    """Return whom `read` or `write` of an app names: `"anyone"`, `"signed-in"` or a table. Errors: PolicyError."""
    table: RequirementTable = convert(
        {"who": value} if isinstance(value, str) else value, RequirementTable, place=place
    )
    return parse_requirement(table, place=place, has_tokens=has_tokens)


def with_line(error: PolicyError, text: str) -> PolicyError:
    """Return `error` with the line of `text` that its place is in, or the table around it.

    The line is the first at which the text up to it, its open arrays closed, has the place: tomllib keeps no positions.
    """
    if error.line is not None:
        return error
    steps: list[str | int] = [
        int(index) if index else json.loads(f'"{quoted}"') if quoted else key
        for index, quoted, key in _STEP.findall(error.place)
    ]
    # Only what TOML takes for the end of a line: a text may have U+2028 and others in it.
    lines = text.split("\n")
    for length in range(len(steps), 0, -1):
        line = _first_line(lines, steps[:length])
        if line is not None:
            return PolicyError(error.problem, error.place, line)
    return error


def _first_line(lines: list[str], steps: list[str | int]) -> int | None:
    """Return the number of the line in which `steps` is first there, None when it never is.

    What is there stays there, so half of the lines can be left out at each look.
    """
    counts = range(1, len(lines) + 1)
    index = bisect.bisect_left(counts, 1, key=lambda count: _look(lines, count, steps)[1])
    return None if index == len(counts) else _look(lines, counts[index], steps)[0]


def _look(lines: list[str], count: int, steps: list[str | int]) -> tuple[int, bool]:
    """Return the first line from `count` on that ends within no value, and whether `steps` is there by then."""
    for line in range(count, len(lines) + 1):
        for closing in _CLOSINGS:
            with suppress(tomllib.TOMLDecodeError):
                value: Any = tomllib.loads("\n".join([*lines[:line], closing]))
                try:
                    for step in steps:
                        value = value[step]
                except (KeyError, IndexError, TypeError):
                    return line, False
                return line, True
    return len(lines), False


def _first_failing_line(text: str) -> int:
    """Return the number of the first line up to which Python's limits are exceeded."""
    lines = text.split("\n")
    return bisect.bisect_left(range(1, len(lines)), 1, key=lambda count: _exceeds_limits(lines[:count])) + 1


def _exceeds_limits(lines: list[str]) -> bool:
    try:
        tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    except (ValueError, RecursionError):
        return True
    return False
