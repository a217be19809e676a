"""The back ends of the policy: their keys, and the paths that each may publish on and grant.

A policy file has a table for each:

    [backends.todos]
    key_file = "todos.key"        # at least MIN_KEY_CHARACTERS; a relative name is in the policy file's folder
    publish = ["tasks/**"]        # absent: none
    grant = ["**"]                # absent: none
    rate = 5000                   # messages a second, and
    burst = 20000                 # how many at once

`keyless = true` in the place of `key_file` makes it the back end of requests without a key in the form of 2009, whose
client knew none; at most one back end is that. A key is kept as its digest only.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from roots.auth.patterns import Pattern, parse_pattern
from roots.auth.policy_file import PolicyError, convert, join_place

MIN_KEY_CHARACTERS = 16
# The largest batch has to fit, or it could never be published.
MIN_BURST = 1000
DEFAULT_RATE = 5000
DEFAULT_BURST = 20_000

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One back end. Shape: key_digest is None for the one without a key. Units: rate is messages a second."""

    name: str
    key_digest: bytes | None
    publish: tuple[Pattern, ...]
    grant: tuple[Pattern, ...]
    rate: float
    burst: int

    def may_publish(self, path: str) -> bool:
        """Return whether it may publish on `path`."""
        return any(pattern.matches(path) for pattern in self.publish)

    def may_grant(self, path: str) -> bool:
        """Return whether it may grant `path` to clients, and withdraw it from them."""
        return any(pattern.matches(path) for pattern in self.grant)


class _BackendTable(msgspec.Struct, frozen=True, kw_only=True):
    key_file: str | None = None
    keyless: bool = False
    publish: list[str] = []
    grant: list[str] = []
    rate: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = DEFAULT_RATE
    burst: Annotated[int, msgspec.Meta(ge=MIN_BURST, le=10**9)] = DEFAULT_BURST


def parse_backends(tables: Mapping[str, Any], folder: Path = Path(), *, needs_keys: bool = True) -> dict[str, Backend]:
    """Return the back ends that the tables `[backends.NAME]` describe, and read their keys.

    Shape: folder is where relative names of key files begin; without needs_keys a back end is left out when its key
        file is not there, or not readable.
    Errors: PolicyError that names the table or key at fault, and no key.
    """
    parsed = {name: _parse_backend(name, table, folder, needs_key=needs_keys) for name, table in tables.items()}
    backends = {name: backend for name, backend in parsed.items() if backend is not None}
    owners: dict[bytes | None, str] = {}
    for name, backend in backends.items():
        other = owners.setdefault(backend.key_digest, name)
        if other != name:
            what = "takes requests without a key" if backend.key_digest is None else "has the same key"
            raise PolicyError(f"{other} {what}, too; only one can", join_place("backends", name))
    return backends


def find_by_key(backends: Mapping[str, Backend], key: str) -> Backend | None:
    """Return the back end whose key is `key`; the time that takes reveals nothing of any key."""
    digest = digest_of(key)
    found = None
    for backend in backends.values():
        if backend.key_digest is not None and hmac.compare_digest(backend.key_digest, digest):
            found = backend
    return found


def find_keyless(backends: Mapping[str, Backend]) -> Backend | None:
    """Return the back end of requests without a key, None when the policy has none."""
    return next((backend for backend in backends.values() if backend.key_digest is None), None)


def digest_of(key: str) -> bytes:
    """Return what is kept of a key: equal lengths, whatever was sent."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _parse_backend(name: str, value: object, folder: Path, *, needs_key: bool) -> Backend | None:
    place = join_place("backends", name)
    if _NAME.fullmatch(name) is None:
        raise PolicyError("a back end's name is 1-64 of A-Z a-z 0-9 _ -", place)
    table: _BackendTable = convert(value, _BackendTable, place=place)
    if (table.key_file is None) != table.keyless:
        raise PolicyError("it needs either key_file or keyless = true", place)
    publish = _parse_patterns(table.publish, f"{place}.publish")
    grant = _parse_patterns(table.grant, f"{place}.grant")
    digest = None
    if table.key_file is not None:
        file = folder / table.key_file
        if not needs_key and not os.access(file, os.R_OK):
            return None
        digest = digest_of(_read_key(file, place))
    return Backend(name=name, key_digest=digest, publish=publish, grant=grant, rate=table.rate, burst=table.burst)


def _parse_patterns(texts: list[str], place: str) -> tuple[Pattern, ...]:
    patterns = []
    for index, text in enumerate(texts):
        try:
            patterns.append(parse_pattern(text))
        except ValueError as error:
            raise PolicyError(f"{text!r} is no pattern: {error}", f"{place}[{index}]") from error
    return tuple(patterns)


def _read_key(file: Path, place: str) -> str:
    place = f"{place}.key_file"
    try:
        key = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise PolicyError(f"{file} can't be read: {error.strerror}", place) from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{file} is not ASCII", place) from error
    if len(key) < MIN_KEY_CHARACTERS or _KEY.fullmatch(key) is None:
        raise PolicyError(f"{file} needs one key of {MIN_KEY_CHARACTERS} characters or more, without spaces", place)
    return key
