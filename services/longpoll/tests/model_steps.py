"""The steps of a run, and how likely each is.

Clients and paths are few, rings and answers small, and some steps lead to where much can go wrong: a fan-out that has
begun, a poll behind the ring, a cursor ahead of it. What is left to chance is what happens next.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

from hypothesis import strategies as st

Step = tuple[str, dict[str, Any]]
# Most things happen to one client and at one replica, so that they meet.
CLIENT = (0, 0, 1, 2)
WHICH = (0, 0, 0, 1)
LATE = ((), (), (0,), (1,), (0, 1))
SOME = range(4)
PATHS = (("a",), ("b",), ("b",), ("a", "b"))
IS_OK = (True, True, True, False)
BOTH = (False, True)
SELDOM = (False, False, True)
EVENTS = ("a", "b", "aa", "ab", "b?", "aab", "ba?a", "aaba", "aabaa")


def weighted(*kinds: tuple[int, str, dict[str, Sequence[Any]]]) -> st.SearchStrategy[Step]:
    """Return a strategy for steps of all kinds, each kind as often as its weight says.

    Two choices make a whole step, and each is of less than 256: above that Hypothesis prefers the small ones.
    """
    slots: list[list[Step]] = []
    for weight, name, choices in kinds:
        slots += [[(name, dict(zip(choices, one, strict=True))) for one in product(*choices.values())]] * weight
    assert max(len(slots), *map(len, slots)) < 256

    @st.composite
    def step(draw: st.DrawFn) -> Step:
        slot = slots[draw(st.integers(0, len(slots) - 1))]
        return slot[draw(st.integers(0, 239)) % len(slot)]

    return step()


STEPS = weighted(
    (8, "go_on", {"client": CLIENT, "which": WHICH, "is_answered": (True, True, False)}),
    (4, "wait", {"client": CLIENT, "which": WHICH}),
    (4, "gather", {"which": WHICH}),
    (10, "publish", {"paths": EVENTS, "late": LATE, "is_large": SELDOM}),
    (6, "connect", {"client": CLIENT, "paths": PATHS, "late": LATE, "lifetime": (None, None, 8.0)}),
    (4, "disconnect", {"client": CLIENT, "paths": PATHS, "late": LATE}),
    (8, "catch_up", {"which": WHICH, "events": (0, 1, 1, 2, 9), "records": (0, 1, 9)}),
    (5, "answer_lookup", {"which": WHICH, "question": SOME, "is_ok": IS_OK}),
    (8, "end_replay", {"which": WHICH, "question": SOME, "is_ok": IS_OK}),
    (10, "run_slice", {"which": WHICH}),
    (12, "reconcile", {"which": WHICH, "is_whole": (True, True, False)}),
    (2, "poll_again", {"client": CLIENT, "which": WHICH, "back": SOME}),
    (4, "pass_time", {"seconds": (9.0, 26.0, 26.0)}),
    (6, "set_stale", {"which": WHICH, "is_stale": (True, False)}),
    (1, "abandon", {"client": CLIENT}),
    (1, "restart", {"which": WHICH, "preload": SOME}),
    (1, "drain", {"which": WHICH}),
    (2, "release", {"which": WHICH}),
    (2, "forget_grants", {"which": WHICH}),
    (2, "begin_ring_anew", {"which": WHICH, "preload": SOME}),
    (1, "purge", {"kept": range(7)}),
    (1, "begin_stream_anew", {}),
    (2, "lose_events", {"which": WHICH, "count": SOME}),
    (1, "lose_records", {"which": WHICH}),
    (1, "touch", {"client": CLIENT, "lifetime": (8.0, 3600.0, 3600.0), "late": LATE}),
    (1, "delete_record", {"client": CLIENT, "late": LATE}),
    (1, "claim", {"client": CLIENT, "which": WHICH, "count": (1, 2, 5)}),
    (6, "wake", {"which": WHICH, "paths": ("a", "b", "aab", "aaba"), "again": ("", "a", "ab"), "is_stale": SELDOM}),
    (6, "fall_back", {"client": CLIENT, "which": WHICH, "paths": ("ababa", "baaab", "bbbbb")}),
    (4, "overtake", {"client": CLIENT, "which": WHICH, "paths": ("a", "b", "ba?a"), "is_checking": (True, False)}),
    (3, "grant_unseen", {"client": CLIENT, "which": WHICH, "paths": EVENTS}),
    (
        4,
        "grant_ahead",
        {"client": CLIENT, "which": WHICH, "paths": ("", "ab"), "events": (0, 1, 9), "is_new_log": BOTH},
    ),
    (3, "outlive", {"client": CLIENT, "which": WHICH, "paths": ("", "b"), "is_record": BOTH, "is_back": BOTH}),
)
