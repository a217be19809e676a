"""What a newcomer has: a browser, and a checkout of Roots that runs nothing yet."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from tests.e2e.conftest import FLAGS, browser, chromium, running_browser

from roots_devstack.processes import ports

from .checkout import ROOT, Newcomer, copy_checkout

__all__ = ["browser", "chromium", "running_browser"]

Copied = Callable[[Path], Path]

HOSTILE_PATH = Path("a b/.c{x}/roots")
"""What has a space, a folder that listings hide, and braces, which mean something to many programs."""


@pytest.fixture(scope="session")
def flags() -> list[str]:
    """Return what the browser is started with: it shows animations, as a newcomer's does."""
    return FLAGS


@pytest.fixture(scope="session")
def copied(lacking: Callable[[str], NoReturn]) -> Copied:
    """Return what copies this checkout to a folder."""
    if not (ROOT / ".git").exists():
        lacking("the acceptance tests copy what git lists, and this folder is no clone")
    return copy_checkout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory, copied: Copied) -> Iterator[Newcomer]:
    """Yield somebody with a checkout in HOSTILE_PATH and the same account as ours."""
    somebody = Newcomer(
        copied(tmp_path_factory.mktemp("newcomer") / HOSTILE_PATH),
        port=ports.reserve(),
        path=os.environ["PATH"],
        home=Path.home(),
    )
    yield somebody
    somebody.close()
