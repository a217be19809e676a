"""The packages of a service: what each may import, and that each can be overlooked."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    {file.parent for folder in ("libs", "services", "clients") for file in ROOT.glob(f"{folder}/*/src/**/*.py")}
)
MAX_MODULES = 12
MAX_LINES = 400


def test_packages_import_only_what_stands_below_them() -> None:
    """The layers stand in pyproject.toml; a circle breaks them."""
    # In a process of its own: it disables every logger that there is.
    program = Path(sys.executable).with_name("lint-imports")
    linted = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(ROOT)))
def test_package_fits_on_a_screen(package: Path) -> None:
    """At most a dozen modules in a package, and 400 lines in a module."""
    modules = [file for file in package.glob("*.py") if file.name != "__init__.py"]
    too_long = [file.name for file in modules if len(file.read_text(encoding="utf-8").splitlines()) > MAX_LINES]
    assert [] == too_long
    assert len(modules) <= MAX_MODULES, [file.name for file in modules]
