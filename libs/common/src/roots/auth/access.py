"""The part of the policy file that is about who asks: `[tokens]`, and `origins`.

Source: docs/operations.md, The policy file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from roots.auth.policy_file import PolicyError
from roots.auth.token_rules import TokenRules, parse_token_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whose requests are accepted.

    Shape: tokens is None when everyone is anonymous; origins are those of foreign pages that may change something, as
        `https://app.example`.
    """

    tokens: TokenRules | None = None
    origins: frozenset[str] = frozenset()


EVERYONE_ANONYMOUS = Access()


def parse_access(document: dict[str, Any], folder: Path) -> Access:
    """Return who may ask by the policy `document`, whose key files are in `folder`. Errors: PolicyError."""
    tokens = document.get("tokens")
    return Access(
        tokens=None if tokens is None else parse_token_rules(tokens, folder),
        origins=_parse_origins(document.get("origins", [])),
    )


def _parse_origins(values: object) -> frozenset[str]:
    if not isinstance(values, list):
        raise PolicyError('it is an array, as ["https://app.example"]', "origins")
    for index, value in enumerate(values):
        if not _is_origin(value):
            raise PolicyError(f"{value!r} is no origin, as https://app.example", f"origins[{index}]")
    return frozenset(values)


def _is_origin(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"} and value == f"{parts.scheme}://{parts.netloc.lower()}" and "@" not in value
    )
