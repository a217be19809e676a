"""A task and the rules for changing it: pure, without a database and without HTTP."""

import hashlib
import unicodedata
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from roots_tasks.errors import InvalidFieldError

PATH = "tasks"
"""The path on which every change of a task is published."""

MAX_DESCRIPTION_CHARACTERS = 2000
MAX_ID = 2**63 - 1

_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
# Characters without a shape that those categories lack: the rest of Unicode's Default_Ignorable_Code_Point (fillers,
# joiners, variation selectors, and what is reserved for more of them), and the blank Braille pattern.
_UNSEEN_RANGES = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2065, 0x2065),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0xE0000, 0xE0FFF),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task at one version.

    Shape: content is the task as clients see it, JSON text of docs/protocol.md, Tasks; tag is its entity tag, which no
        other state of any task at its URL has.
    """

    id: int
    version: int
    tag: str
    content: str

    @property
    def url(self) -> str:
        """Where the task is; its `guid` too."""
        return f"/task/{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Tasks by ascending id.

    Shape: content has each task as clients see it, separated by commas; next_after is the last id when there are more.
    """

    content: str
    next_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a valid request wants a task to be; None leaves the member as it is."""

    description: str | None
    is_done: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a valid request wants a new task to be."""

    description: str
    is_done: bool

    @property
    def digest(self) -> bytes:
        """Return a digest that differs for two requests with the same idempotency key."""
        return hashlib.sha256(msgspec.json.encode([self.description, self.is_done])).digest()

    def as_change(self) -> Change:
        """Return the change that makes an existing task so."""
        return Change(description=self.description, is_done=self.is_done)


class TaskBody(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a request's body that mean something; others, as the `guid` SproutCore sends back, are ignored."""

    description: str | UnsetType = UNSET
    is_done: bool | UnsetType = UNSET

    def draft(self) -> Draft:
        """Return the whole task; what is not done is the default. Errors: InvalidFieldError."""
        if self.description is UNSET:
            raise InvalidFieldError("description", "A task needs a description.")
        return Draft(description=trim_description(self.description), is_done=self.is_done is True)

    def change(self) -> Change:
        """Return only what the body has. Errors: InvalidFieldError."""
        return Change(
            description=None if self.description is UNSET else trim_description(self.description),
            is_done=None if self.is_done is UNSET else self.is_done,
        )


def trim_description(text: str) -> str:
    """Return `text` without the white space around it.

    Errors: InvalidFieldError, also for a text of which nothing can be seen.
    """
    trimmed = text.strip()
    if all(map(_is_unseen, trimmed)):
        raise InvalidFieldError("description", "A description needs a character that can be seen.")
    if len(trimmed) > MAX_DESCRIPTION_CHARACTERS:
        raise InvalidFieldError(
            "description", f"A description has 1 to {MAX_DESCRIPTION_CHARACTERS} characters, this one {len(trimmed)}."
        )
    if "\0" in trimmed:
        # Postgres text can't hold it.
        raise InvalidFieldError("description", "A description can't hold the character U+0000.")
    return trimmed


def _is_unseen(character: str) -> bool:
    if unicodedata.category(character) in _UNSEEN_CATEGORIES:
        return True
    return any(first <= ord(character) <= last for first, last in _UNSEEN_RANGES)


def parse_id(text: str) -> int | None:
    """Return the task id that `text` spells, or None; an id has one spelling, so `012` and `+1` are none."""
    if not (text.isascii() and text.isdigit()) or text.startswith("0") or len(text) > len(str(MAX_ID)):
        return None
    number = int(text)
    return number if number <= MAX_ID else None
