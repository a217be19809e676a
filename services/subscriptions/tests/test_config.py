"""What the service is told at its start, and how it refuses what it can't use."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.testkit.deadlines import DEADLINE_SECONDS, stretched, wait_until

from roots.auth.policy import parse_policy
from roots.auth.policy_file import PolicyError, read_text
from roots.contracts.identity import ANONYMOUS
from roots.contracts.uids import Uids
from roots_subscriptions.config import DEFAULT_POLICY

from .support import UID_KEY, Nats, Service


def start(**environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the service, which is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "roots_subscriptions"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=stretched(DEADLINE_SECONDS),
        check=False,
    )


def test_default_policy_allows_tasks_alone_when_no_file_is_named() -> None:
    """The tutorial's application works without a policy of one's own, and nothing else is open."""
    policy = parse_policy(DEFAULT_POLICY.read_text(encoding="utf-8"))
    assert ["tasks"] == list(policy.apps)
    assert policy.decide("tasks", "tasks", ANONYMOUS).is_allowed
    assert not policy.decide("tasks", "tasks/1", ANONYMOUS).is_allowed


def test_policy_says_why_when_the_file_is_not_text(tmp_path: Path) -> None:
    """A file that is no UTF-8 is named as such."""
    file = tmp_path / "policy.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not UTF-8"):
        read_text(file)


def test_service_exits_2_naming_all_when_variables_are_wrong() -> None:
    """Every mistake is in one message, and no secret is."""
    ended = start(ROOTS_UID_KEY="short", ROOTS_HTTP_PORT="http")
    assert 2 == ended.returncode
    assert 1 == len(ended.stderr.splitlines())
    for variable in ("ROOTS_UID_KEY", "ROOTS_HTTP_PORT", "ROOTS_NATS_PASSWORD"):
        assert variable in ended.stderr
    assert "short" not in ended.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No such file"),
        ("[apps.tasks]\nallow = [}", "line 2"),
        ("[apps.tasks]\nallow = [{ paths = ['a*'], who = 'anyone' }]", "apps.tasks.allow[0].paths[0]"),
    ],
)
@pytest.mark.parametrize("variable", ["ROOTS_POLICY", "ROOTS_POLICY_FILE"])
def test_service_exits_2_naming_the_place_when_the_policy_is_wrong(
    tmp_path: Path, text: str | None, problem: str, variable: str
) -> None:
    """The sentence has the file, the table and key, and what is wrong."""
    file = tmp_path / "policy.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    ended = start(ROOTS_UID_KEY=UID_KEY, ROOTS_NATS_PASSWORD="x", **{variable: str(file)})
    assert 2 == ended.returncode
    assert 1 == len(ended.stderr.splitlines())
    assert str(file) in ended.stderr
    assert problem in ended.stderr


def test_uid_ends_as_the_environment_says_when_it_does(
    nats: Nats, policy_file: Path, uids: Uids, tmp_path: Path
) -> None:
    """The age that longpoll mints by is the age that connecting checks by, longer or shorter than a week."""
    day = 24 * 3600
    environment = {"ROOTS_POLICY_FILE": str(policy_file), "ROOTS_UID_MAX_AGE_SECONDS": str(30 * day)}
    with Service(nats, tmp_path, **environment) as service:
        wait_until(service.is_ready)
        ages = (8 * day, 29 * day, 31 * day)
        answers = [service.connect(uids.mint(time.time() - age), "tasks").status for age in ages]
    assert [200, 200, 410] == answers
