"""Paths and subjects map one to one, and nothing but a path passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots.contracts.subjects import InvalidPathError, is_path, path_of, subject_of

SEGMENTS = st.text("abcXYZ019_-.~@+=", min_size=1, max_size=64)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=8).map("/".join).filter(lambda path: len(path) <= 255)

NO_PATHS = [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "a b",
    "a\n",
    "a\x00",
    "ä",
    "\uff41",
    "a/b/c/d/e/f/g/h/i",
    "a" * 65,
    "/".join(["a" * 64] * 4),
    "::connect",
    "a*",
    "a>",
    "a%2Eb",
    "a,b",
    7,
    None,
]


@given(PATHS)
def test_path_comes_back_when_its_subject_is_read(path: str) -> None:
    """The mapping is one to one, also where a segment has dots."""
    assert path == path_of(subject_of(path))


@given(PATHS, PATHS)
def test_subjects_differ_when_paths_differ(first: str, second: str) -> None:
    """No path can be heard under another one's name."""
    assert (first == second) == (subject_of(first) == subject_of(second))


@given(PATHS)
def test_subject_has_a_token_for_each_segment_when_segments_have_dots(path: str) -> None:
    """A dot inside a segment is no separator on NATS, so wildcards match segments."""
    assert path.count("/") == subject_of(path).removeprefix("roots.events.").count(".")


@pytest.mark.parametrize("value", NO_PATHS)
def test_value_is_refused_when_it_is_no_path(value: object) -> None:
    """Reserved, wild, empty, long and look-alike names are no paths."""
    assert not is_path(value)


@pytest.mark.parametrize("subject", ["roots.live.events.tasks", "roots.events.", "roots.events.a..b", "tasks"])
def test_subject_is_refused_when_it_carries_no_path(subject: str) -> None:
    """A subject that no path maps to is an error, never a wrong path."""
    with pytest.raises(InvalidPathError):
        path_of(subject)
