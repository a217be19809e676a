"""What every test of every folder shares: deadlines, no settings from outside, and a list of what was not tested."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
import pytest_timeout
from tests.testkit import deadlines, examples
from tests.testkit.background import LoopThread

SETTINGS = ("ROOTS_", "OTEL_")
SETTINGS_OF_TESTS = "ROOTS_TEST_"
ROOT = Path(__file__).parent
BEGIN_WITH = (
    "tests/chaos",
    "tests/acceptance",
    "tests/packaging",
    "services/tasks",
    "libs/devstack",
    "services/subscriptions",
    "clients",
    "services/longpoll/tests/test_model.py",
    "tests/attacks",
    "tests/e2e",
    "tests/integration",
)
"""Files that take up to two minutes each, and folders of such; those of other folders take seconds.

The last two share a running system, which costs processor time from then until the end.
"""


def pytest_configure() -> None:
    """Forget the settings of whoever runs the tests, and let deadlines follow the machine."""
    for name in [name for name in os.environ if name.startswith(SETTINGS) and not name.startswith(SETTINGS_OF_TESTS)]:
        del os.environ[name]
    # A shell's background job ignores SIGINT, and so would each program that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    deadlines.follow_machine()
    # Each example would have 200 ms, whatever the machine does; a test that hangs has the deadline of every test.
    hypothesis.settings.register_profile("roots", deadline=None)
    hypothesis.settings.load_profile("roots")


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> object:
    """Give a test the longer, the busier the machine is as it begins, and the more examples it draws."""
    settings = settings._replace(timeout=deadlines.stretched(settings.timeout) * max(1.0, examples.FACTOR))
    return pytest_timeout.pytest_timeout_set_timer(item, settings)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left with one of them at the end."""
    turns = {path: _turn(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: turns[item.path])


@pytest.fixture(scope="session")
def background() -> Iterator[LoopThread]:
    """Yield an event loop that lives as long as the run, for servers that outlive a test."""
    with LoopThread() as thread:
        yield thread


@pytest.fixture(scope="session")
def lacking() -> Callable[[str], NoReturn]:
    """Return what ends a test for which the machine lacks something: it is skipped, and fails where CI is set."""

    def end(message: str) -> NoReturn:
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    return end


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped and why, each reason once."""
    reasons = Counter(reason for report in terminalreporter.getreports("skipped") for reason in _reasons(report))
    terminalreporter.section("skipped")
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")
    if not reasons:
        terminalreporter.write_line("nothing")


def _turn(path: Path) -> int:
    for turn, first in enumerate(BEGIN_WITH):
        if path.is_relative_to(ROOT / first):
            return turn
    return len(BEGIN_WITH)


def _reasons(report: pytest.TestReport | pytest.CollectReport) -> Iterator[str]:
    if isinstance(report.longrepr, tuple):
        yield str(report.longrepr[2]).removeprefix("Skipped: ")
