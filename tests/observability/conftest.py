"""Prometheus's programs, which the system has to have."""

import shutil
from collections.abc import Callable
from typing import NoReturn

import pytest


def _program(name: str, lacking: Callable[[str], NoReturn]) -> str:
    return shutil.which(name) or lacking(f"there is no {name}; Debian's package prometheus has it")


@pytest.fixture(scope="session")
def promtool(lacking: Callable[[str], NoReturn]) -> str:
    """Return the path of promtool."""
    return _program("promtool", lacking)


@pytest.fixture(scope="session")
def prometheus_program(lacking: Callable[[str], NoReturn]) -> str:
    """Return the path of Prometheus."""
    return _program("prometheus", lacking)
