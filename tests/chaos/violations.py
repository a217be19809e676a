"""What a checker finds wrong."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "lost", "out of order", "repeated", "unauthorised", "gap", "renewed", "unfinished", "write lost", "write invented",
    "stored twice", "not recovered",
]  # fmt: skip

KINDS: tuple[Kind, ...] = (
    "lost", "out of order", "repeated", "unauthorised", "gap", "renewed", "unfinished", "write lost", "write invented",
    "stored twice", "not recovered",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One breach of docs/protocol.md, with what it takes to find its cause.

    Shape: context has lines about what happened around it; the report shows them below the sentence.
    """

    kind: Kind
    sentence: str
    context: tuple[str, ...] = ()
