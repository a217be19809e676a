"""How many examples tests draw at random: few for each run, and ROOTS_TEST_EXAMPLES times as many by hand."""

import os

FACTOR = float(os.environ.get("ROOTS_TEST_EXAMPLES", "1"))
IS_LONG = FACTOR != 1
"""Whether more are drawn than in every run."""


def drawn(count: int) -> int:
    """Return how many examples a test draws, that draws `count` in every run."""
    return max(1, round(count * FACTOR))
