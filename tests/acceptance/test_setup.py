"""What `make` says where Roots can't be set up."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched

from .checkout import SETUP_SECONDS
from .conftest import Copied

FAILURE = 2
# What an older interpreter answers to a question about its version.
OLD_PYTHON = """#!/bin/sh
exec {python} -c 'import sys; sys.version_info = (3, 9, 2); exec(sys.argv[2])' "$@"
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, copied: Copied) -> Path:
    """Return a checkout without .venv and without git, as an archive of the sources has it."""
    return copied(tmp_path_factory.mktemp("setup") / "roots")


def make(checkout: Path, *arguments: str, path: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run make with nothing but a PATH, to which `path` is added, HOME, and `settings`."""
    search = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
    return subprocess.run(
        ["make", *arguments],  # noqa: S607
        cwd=checkout,
        env={"PATH": search, "HOME": str(Path.home()), **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=stretched(SETUP_SECONDS),
    )


def test_make_lists_its_commands_when_there_is_no_git(checkout: Path) -> None:
    """An archive of the sources is no clone; nothing of that is said."""
    done = make(checkout)

    assert (0, "") == (done.returncode, done.stderr)
    assert "make run" in done.stdout


def test_make_says_which_python_it_needs_when_python3_is_older(checkout: Path, tmp_path: Path) -> None:
    """One sentence names the version and how to name another interpreter; no .venv is begun."""
    python = tmp_path / "python3"
    python.write_text(OLD_PYTHON.format(python=shlex.quote(sys.executable)), encoding="utf-8")
    python.chmod(0o755)

    done = make(checkout, "run", path=str(tmp_path))

    assert FAILURE == done.returncode
    assert done.stderr.startswith("Roots needs Python 3.11 or newer, and python3 is not;")
    assert not (checkout / ".venv").exists()


def test_make_says_which_python_it_needs_when_there_is_none(checkout: Path) -> None:
    """The same sentence, for a name that no program has."""
    done = make(checkout, "run", "PYTHON=python-nowhere")

    assert FAILURE == done.returncode
    assert done.stderr.startswith("Roots needs Python 3.11 or newer, and python-nowhere is not;")


@pytest.mark.timeout(420)
def test_run_installs_what_runs_alone_and_keeps_the_rest_when_it_is_there(tmp_path: Path, copied: Copied) -> None:
    """The first command waits for no test's package; `make setup` adds those, and `make run` takes none away."""
    checkout = copied(tmp_path / "roots")
    mypy = checkout / ".venv" / "bin" / "mypy"

    # A wrong port ends it once everything is installed.
    first = make(checkout, "run", ROOTS_PORT="none")
    assert "ROOTS_PORT is wrong" in first.stderr
    assert not mypy.exists()

    assert 0 == make(checkout, "setup").returncode
    assert mypy.exists()

    # As after a `git pull` with another lock.
    os.utime(checkout / ".venv" / ".run", (0, 0))
    again = make(checkout, "run", ROOTS_PORT="none")
    assert "Installing" in again.stdout
    assert "ROOTS_PORT is wrong" in again.stderr
    assert mypy.exists()
    assert "Installing" not in make(checkout, "setup").stdout
