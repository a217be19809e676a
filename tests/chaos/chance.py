"""Seeded chance: each part of a run has a source of its own, so that one more draw here changes nothing there."""

import random


def source(seed: int, name: str) -> random.Random:
    """Return the chance of the part `name` in the run `seed`."""
    return random.Random(f"{seed}/{name}")  # noqa: S311  # repeatable on purpose, guards nothing
