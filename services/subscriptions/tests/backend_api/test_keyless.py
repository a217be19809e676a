"""Requests without a key, and the policies and addresses that allow them."""

import tomllib
from pathlib import Path

import falcon
import pytest
from falcon.testing import create_environ
from prometheus_client import CollectorRegistry
from tests.testkit.deadlines import wait_until

from roots.auth.backends import find_keyless
from roots.auth.policy import parse_policy
from roots.auth.policy_file import PolicyError
from roots.http.web import Problem
from roots_subscriptions.backend_api.audit import Audit
from roots_subscriptions.backend_api.authorization import BackendAuthorizer
from roots_subscriptions.backend_api.keyless import is_loopback, policy_parser
from roots_subscriptions.backend_api.rate_limit import RateLimits
from roots_subscriptions.config import DEFAULT_POLICY
from roots_subscriptions.metrics import Metrics

from ..support import Nats, Service
from ..test_config import start

ROOT = Path(__file__).parents[4]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested
KEYLESS = '[backends.tutorial]\nkeyless = true\npublish = ["tasks"]\n'
LOOPBACK = ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST"]
OTHERS = [
    EVERYWHERE,
    "::",
    "10.0.0.7",
    "192.168.1.2",
    "::ffff:10.0.0.7",
    "fe80::1%eth0",
    "backend-api",
    "localhost.example",
    "",
]


@pytest.mark.parametrize("host", LOOPBACK)
def test_keyless_back_end_is_taken_when_the_api_is_on_loopback(host: str, tmp_path: Path) -> None:
    """I5: whatever names this machine alone will do."""
    assert find_keyless(policy_parser(host)(KEYLESS, tmp_path).backends) is not None
    assert is_loopback(host)


@pytest.mark.parametrize("host", OTHERS)
def test_keyless_back_end_is_refused_when_others_reach_the_api(host: str, tmp_path: Path) -> None:
    """I5: the message names the place and the variable; a policy with keys alone is taken."""
    with pytest.raises(PolicyError, match="ROOTS_BACKEND_API_HOST is") as caught:
        policy_parser(host)(KEYLESS, tmp_path)
    assert "backends.tutorial.keyless" in str(caught.value)
    assert policy_parser(host)("[apps]", tmp_path).backends == {}


def admit(remote_address: str, tmp_path: Path) -> str:
    """Send a request without a key, and return the name of the back end that it is taken for."""
    backends = parse_policy(KEYLESS, tmp_path).backends
    authorizer = BackendAuthorizer(
        lambda: backends, lambda: False, RateLimits(), Audit(b"key"), Metrics(CollectorRegistry())
    )
    request = falcon.Request(create_environ(method="POST", remote_addr=remote_address))
    with authorizer.admit(request, "tutorial", is_key_needed=False) as admitted:
        return admitted.backend.name


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_request_without_a_key_is_taken_when_it_comes_from_this_machine(address: str, tmp_path: Path) -> None:
    """The client of 2009 runs beside the back-end API."""
    assert admit(address, tmp_path) == "tutorial"


@pytest.mark.parametrize("address", ["10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1", EVERYWHERE])
def test_request_without_a_key_is_refused_when_it_comes_from_elsewhere(address: str, tmp_path: Path) -> None:
    """I5: also where a network leads others to a loopback address."""
    with pytest.raises(Problem) as caught:
        admit(address, tmp_path)
    assert caught.value.status_code == 403
    assert "without a key" in str(caught.value.description)


def test_service_exits_2_with_one_sentence_when_a_keyless_api_is_open_to_others(tmp_path: Path) -> None:
    """I5: it does not start, and says what to change."""
    file = tmp_path / "policy.toml"
    file.write_text(KEYLESS, encoding="utf-8")
    ended = start(
        ROOTS_UID_KEY="k" * 32, ROOTS_NATS_PASSWORD="x", ROOTS_POLICY=str(file), ROOTS_BACKEND_API_HOST=EVERYWHERE
    )
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert "backends.tutorial.keyless" in ended.stderr
    assert "ROOTS_BACKEND_API_HOST is 0.0.0.0" in ended.stderr


def test_newer_policy_is_refused_when_it_opens_a_keyless_api_to_others(nats: Nats, tmp_path: Path) -> None:
    """I5: a running service keeps the policy before."""
    file = tmp_path / "policy.toml"
    file.write_text("[apps]", encoding="utf-8")
    with Service(nats, tmp_path, ROOTS_POLICY=str(file), ROOTS_BACKEND_API_HOST=EVERYWHERE) as service:
        wait_until(service.is_ready)
        file.write_text(KEYLESS, encoding="utf-8")
        wait_until(lambda: service.metric("roots_subscriptions_policy_file_invalid") == 1)
        answer = service.backend_api("POST", "/", [{"path": "tasks", "message": "{}"}])
        assert (answer.status, answer.data) == (503, b"{error:true}")


POLICIES = [DEFAULT_POLICY, *sorted(ROOT.glob("deploy/**/policy.toml"))]


@pytest.mark.parametrize("file", POLICIES, ids=[str(file.relative_to(ROOT)) for file in POLICIES])
def test_back_ends_need_keys_when_the_policy_is_for_a_network(file: Path) -> None:
    """I5: what Compose, Kubernetes and the package bring lets nobody in without a key."""
    policy = tomllib.loads(file.read_text(encoding="utf-8"))
    assert [name for name, backend in policy.get("backends", {}).items() if "keyless" in backend] == []


def test_tutorial_needs_no_key_when_run_on_one_machine(tmp_path: Path) -> None:
    """`make run` lets the client of 2009 in, on the path of the tutorial alone."""
    text = (ROOT / "libs/devstack/src/roots_devstack/policy.toml").read_text(encoding="utf-8")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/backend-todos").write_text("k" * 16, encoding="ascii")
    tutorial = find_keyless(policy_parser("127.0.0.1")(text, tmp_path).backends)
    assert tutorial is not None
    assert (tutorial.may_publish("tasks"), tutorial.may_publish("news")) == (True, False)
