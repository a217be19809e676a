"""Each service's lock alone is enough to import the whole service, and names no index."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
SERVICES = ["tasks", "subscriptions", "longpoll"]

IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    importlib.import_module(f"{name}.__main__") if name not in ("roots", "roots_outbox") else None
"""


def run(*command: str | Path) -> None:
    """Run a command; its output is shown when it fails."""
    env = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=stretched(110)
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_service_imports_when_only_its_lock_is_installed(service: str, tmp_path: Path) -> None:
    """An import that the service does not declare fails here."""
    python = tmp_path / "venv" / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    run(UV, "pip", "sync", "--quiet", "--require-hashes", "--python", python, f"requirements/{service}.txt")
    # The sources as they are, without a build, which would need a build backend that is not the service's own.
    packages = {"libs/common": "roots", f"services/{service}": f"roots_{service}"}
    if service == "tasks":
        packages["libs/outbox"] = "roots_outbox"
    sources = os.pathsep.join(str(ROOT / folder / "src") for folder in [*packages, "clients/cornelius"])

    run("env", f"PYTHONPATH={sources}", python, "-c", IMPORT_ALL, *packages.values())


@pytest.mark.parametrize(
    "lock",
    [
        *(f"requirements/{name}.txt" for name in [*SERVICES, "run", "dev"]),
        *(f"examples/{name}/requirements.txt" for name in ["chat", "django-todos"]),
    ],
)
def test_lock_names_no_index_when_it_is_made(lock: str) -> None:
    """Locks work with any mirror: hashes say what may be installed, and no host is named."""
    text = (ROOT / lock).read_text(encoding="utf-8")

    assert re.findall(r"https?://|--index|--find-links|^-e |file:", text, flags=re.MULTILINE) == []
    pinned = [line for line in text.splitlines() if re.match(r"[A-Za-z]", line)]
    assert pinned
    assert [line for line in pinned if not re.fullmatch(r"\S+==\S+( ; .+)? \\", line)] == []


def test_dev_lock_has_what_runs_when_the_locks_are_made() -> None:
    """`make test` after `make run` only adds to .venv: what it does not finish leaves a .venv that runs."""
    runs, tests = (pins(f"requirements/{name}.txt") for name in ("run", "dev"))

    assert runs
    assert runs < tests


def pins(lock: str) -> set[str]:
    """Return the packages of a lock with their versions."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return set(re.findall(r"^[A-Za-z]\S*==\S+", text, flags=re.MULTILINE))
