"""What the tests of the running system share."""

import resource
from collections.abc import Iterator

import pytest
from tests.testkit.background import LoopThread

from roots_devstack.stack import Stack

from .guarded import run_guarded


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open a connection for each of a thousand clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def guarded(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield a system of the module's own, with two replicas of longpoll and a policy of tokens."""
    with background.entered(run_guarded(tmp_path_factory.mktemp("guarded"))) as running:
        yield running
