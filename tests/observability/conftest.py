"""Prometheus's programs, which the system has to have."""

import os
import shutil

import pytest


def _program(name: str) -> str:
    """Return the path of a program. Without it its tests are skipped; in CI they fail."""
    path = shutil.which(name)
    if path is None:
        message = f"there is no {name}; Debian's package prometheus has it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def promtool() -> str:
    """Return the path of promtool."""
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """Return the path of Prometheus."""
    return _program("prometheus")
