"""Cornelius as it would be published: what its wheel holds, and that what it declares is enough for it."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

IMPORT_ALL = """
import importlib, pkgutil, cornelius
for module in pkgutil.walk_packages(cornelius.__path__, "cornelius."):
    if module.name.split(".")[1] not in {"apps", "django", "__main__"}:
        importlib.import_module(module.name)
"""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return what it says; that is shown when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=stretched(110))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    run(*build, cwd=ROOT / "clients" / "cornelius")
    (wheel,) = folder.glob("*.whl")
    return wheel


def create_venv(folder: Path) -> Path:
    """Return the interpreter of a new environment."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    return folder / "venv" / "bin" / "python"


def test_wheel_holds_all_modules_and_no_tests_when_it_is_built(wheel: Path) -> None:
    """The types and Django's part are in it."""
    sources = ROOT / "clients" / "cornelius" / "src"
    expected = {
        str(path.relative_to(sources))
        for path in sources.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "egg-info" not in str(path)
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert expected == held
    assert {"cornelius/py.typed", "cornelius/apps.py", "cornelius/django/__init__.py"} <= held


def test_wheel_works_when_only_urllib3_is_there(wheel: Path, tmp_path: Path) -> None:
    """Neither Django nor anything else of Roots is needed."""
    python = create_venv(tmp_path)
    urllib3 = f"urllib3=={importlib.metadata.version('urllib3')}"
    run(UV, "pip", "install", "--quiet", "--python", python, wheel, urllib3)

    run(python, "-W", "error", "-c", IMPORT_ALL)
    for command in ([python, "-m", "cornelius"], [python.with_name("cornelius")]):
        assert "publish" in run(*command, "--help")
    installed = run(UV, "pip", "freeze", "--python", python).splitlines()
    assert ["cornelius", "urllib3"] == sorted(line.replace("==", " ").split()[0] for line in installed)


def test_example_is_sound_when_its_lock_and_the_wheel_are_installed(wheel: Path, tmp_path: Path) -> None:
    """Django checks it, and finds no change of a model without its migration."""
    python = create_venv(tmp_path)
    example = tmp_path / "examples" / "django-todos"
    shutil.copytree(ROOT / "examples" / "django-todos", example, ignore=shutil.ignore_patterns(".*", "db.sqlite3"))
    (tmp_path / "clients").symlink_to(ROOT / "clients")
    run(UV, "pip", "sync", "--quiet", "--require-hashes", "--python", python, example / "requirements.txt")
    run(UV, "pip", "install", "--quiet", "--no-deps", "--python", python, wheel)

    run(python, "manage.py", "check", "--fail-level", "WARNING", cwd=example)
    run(python, "manage.py", "makemigrations", "--check", "--dry-run", cwd=example)
