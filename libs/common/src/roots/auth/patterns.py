"""Sets of paths, as a policy file and a token's `roots.hear` write them.

A pattern has the form of a path, in which `*` stands for one segment and `**` for any number of them, also none:
`users/**` allows `users`, `users/7` and `users/7/mail`. A wildcard is a whole segment, so `user*` is a mistake. Paths
are compared as they are written: nothing is decoded, normalised or folded, and `..` is a segment like any other.

A rule for apps may have placeholders: `{sub}` and `{claims.NAME}` stand for one segment, the one that the listener's
token names. Its value is compared and never interpreted, so that no claim can widen a pattern.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from roots.contracts.subjects import is_path

ONE_SEGMENT = "*"
ANY_SEGMENTS = "**"
# A path has no more, so that a pattern that asks for more would match nothing.
MAX_SEGMENTS = 8

NO_CLAIMS: Mapping[str, str] = {}

_PLACEHOLDER = re.compile(r"\{(?:(sub)|claims\.([A-Za-z0-9_-]{1,64}))\}")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Stands for the value of one claim."""

    claim: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A set of paths. Shape: segments as parsed; a wildcard is no literal, since no path has its characters."""

    text: str
    segments: tuple[str | Placeholder, ...]

    @property
    def claims(self) -> frozenset[str]:
        """The claims that the pattern's placeholders name."""
        return frozenset(segment.claim for segment in self.segments if isinstance(segment, Placeholder))

    @property
    def for_anyone(self) -> "Pattern":
        """The pattern with any segment for each placeholder: what all listeners together could match."""
        segments = [ONE_SEGMENT if isinstance(segment, Placeholder) else segment for segment in self.segments]
        return Pattern(text=self.text, segments=tuple(segments))

    def matches(self, path: str, claims: Mapping[str, str] = NO_CLAIMS) -> bool:
        """Return whether `path` is one of the set for who has `claims`; what is not a path at all never is."""
        if not is_path(path):
            return False
        # All ways to read the path at once, as positions in the pattern: no pattern and no path is slow.
        positions = self._with_skips({0})
        for segment in path.split("/"):
            positions = self._with_skips(
                {after for position in positions if (after := self._step(position, segment, claims)) is not None}
            )
        return len(self.segments) in positions

    def _step(self, position: int, segment: str, claims: Mapping[str, str]) -> int | None:
        """Return the position after `segment` is read at `position`, None when it does not fit there."""
        if position == len(self.segments):
            return None
        expected = self.segments[position]
        if expected == ANY_SEGMENTS:
            return position
        if isinstance(expected, Placeholder):
            # Compared, never read: a claim that is a wildcard is no wildcard.
            return position + 1 if claims.get(expected.claim) == segment else None
        return position + 1 if expected in (ONE_SEGMENT, segment) else None

    def _with_skips(self, positions: set[int]) -> set[int]:
        # There are no two `**` side by side.
        return positions | {
            position + 1
            for position in positions
            if position < len(self.segments) and self.segments[position] == ANY_SEGMENTS
        }


def parse_pattern(text: str, *, allows_placeholders: bool = False) -> Pattern:
    """Return the set of paths that `text` describes. Errors: ValueError when it is no pattern."""
    segments = text.split("/")
    if len(segments) - segments.count(ANY_SEGMENTS) > MAX_SEGMENTS:
        raise ValueError(f"a path has at most {MAX_SEGMENTS} segments")
    if (ANY_SEGMENTS, ANY_SEGMENTS) in itertools.pairwise(segments):
        raise ValueError(f"'{ANY_SEGMENTS}' needs no second one beside it")
    return Pattern(text=text, segments=tuple(_parse_segment(segment, allows_placeholders) for segment in segments))


def _parse_segment(segment: str, allows_placeholders: bool) -> str | Placeholder:  # noqa: FBT001  # private, one caller
    match = _PLACEHOLDER.fullmatch(segment)
    if match is not None and allows_placeholders:
        return Placeholder(match[1] or match[2])
    if segment in (ONE_SEGMENT, ANY_SEGMENTS) or is_path(segment):
        return segment
    placeholders = ", '{sub}', '{claims.NAME}'" if allows_placeholders else ""
    raise ValueError(f"a segment is '*', '**'{placeholders}, or 1-64 of A-Z a-z 0-9 _ - . ~ @ + =")
