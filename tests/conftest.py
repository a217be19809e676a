"""The whole system, as `make run` starts it, with two replicas of longpoll; one for all tests that do not break it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.testkit.background import LoopThread

from roots_devstack.stack import Stack, StackConfig

from .integration.leaks import Leaks

OTHER_ORIGIN = "http://pages.localhost"
"""Pages of this origin may poll."""

HOSTS = "localhost,127.0.0.1,example.test"
"""Names by which pages ask the gateway."""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the state folder of the running system: named as a newcomer's is, below a folder with a space."""
    return tmp_path_factory.mktemp("a {stack}") / ".roots"


@pytest.fixture(scope="session")
def stack(background: LoopThread, home: Path) -> Iterator[Stack]:
    """Yield a running system; processes may be restarted, but what they store must stay."""
    written: list[str] = []
    config = StackConfig(
        home=home,
        longpoll_replicas=2,
        extra_env={"ROOTS_CORS_ORIGINS": OTHER_ORIGIN, "ROOTS_GATEWAY_HOSTS": HOSTS},
        sink=lambda name, line: written.append(f"{name}: {line}"),
    )
    with background.entered(Stack(config)) as running:
        yield running
    # I10, after whatever the tests have done to it.
    assert [] == Leaks(home).lines(written)
