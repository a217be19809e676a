"""Fixtures of the devstack's tests: is a process there, and a folder that everyone may enter."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.testkit import faults
from tests.testkit.deadlines import wait_until


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended but was not collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def family() -> Callable[[int], set[int]]:
    """Return a function that names a process and every one below it."""
    return lambda pid: set(faults.family(pid))


@pytest.fixture
def wait_until_gone() -> Callable[[set[int]], set[int]]:
    """Return a function that waits until no process of a set runs, and returns those that still do."""

    def wait(pids: set[int]) -> set[int]:
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not any(map(is_alive, pids)))
        return set(filter(is_alive, pids))

    return wait


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that everyone may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
