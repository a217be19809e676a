"""Log lines: JSON, with an event that can be counted and searched for."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from roots.runtime import logs


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Give the test's process its own logging back."""
    root, settings = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**settings)


def test_library_is_quoted_under_a_constant_event_when_it_logs(capsys: pytest.CaptureFixture[str]) -> None:
    """What a library says changes each time, and can't be the name of an event."""
    logs.configure("tasks")
    logging.getLogger("psycopg.pool").warning("discarding %s", "a connection")
    line = json.loads(capsys.readouterr().out)
    assert ("library", "psycopg.pool", "discarding a connection", "tasks", "warning") == tuple(
        line[name] for name in ("event", "logger", "detail", "service", "level")
    )


def test_line_of_ours_keeps_its_event_and_fields_when_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of it is taken for a library's."""
    logs.configure("tasks")
    logs.get("roots_tasks").info("listening", port=1)
    line = json.loads(capsys.readouterr().out)
    assert ("listening", 1, False) == (line["event"], line["port"], "detail" in line)
