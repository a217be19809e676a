"""What a newcomer has: a browser, and a checkout of Roots that runs nothing yet."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import browser, chromium

from roots_devstack import ports

from .checkout import Newcomer, copy_checkout

__all__ = ["browser", "chromium"]

HOSTILE_PATH = Path("a b/.c{x}/roots")
"""What has a space, a folder that listings hide, and braces, which mean something to many programs."""


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """Yield somebody with a checkout in HOSTILE_PATH and the same account as ours."""
    somebody = Newcomer(
        copy_checkout(tmp_path_factory.mktemp("newcomer") / HOSTILE_PATH),
        port=ports.reserve(),
        path=os.environ["PATH"],
        home=Path.home(),
    )
    yield somebody
    somebody.close()
