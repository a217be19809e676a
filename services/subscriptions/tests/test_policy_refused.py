"""What clients and back ends are answered while the policy file is wrong, and the one before it is in force."""

from pathlib import Path

import pytest
from tests.testkit.deadlines import wait_until

from .support import KEY, OTHER_KEY, Nats, Service

POLICY = """
[apps.tasks]
allow = [{ paths = ["tasks"], who = "anyone" }]

[backends.todos]
key_file = "todos.key"
publish = ["tasks"]
"""
NEW = """
[apps.news]
allow = [{ paths = ["news"], who = "anyone" }]

[backends.news]
key_file = "news.key"
publish = ["news"]
"""
MESSAGE = {"path": "tasks", "message": "{}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a policy with one app and one back end, and a key file for another."""
    (tmp_path / "todos.key").write_text(KEY)
    (tmp_path / "news.key").write_text(OTHER_KEY)
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


def test_what_is_unknown_gets_503_when_the_newer_policy_is_refused(nats: Nats, file: Path, uid: str) -> None:
    """The new back end and the new app may be in the file that can't be used; what is known goes on as before."""
    with Service(nats, file.parent, ROOTS_POLICY=str(file)) as service:
        wait_until(service.is_ready)
        assert 401 == service.publish(MESSAGE, key=OTHER_KEY).status
        assert 404 == service.request("POST", f"/news/connect/{uid}", b'["news"]').status
        file.write_text(f"{POLICY}{NEW}grants = 1\n")
        wait_until(lambda: service.metric("roots_subscriptions_policy_file_invalid") == 1)
        answers = [
            service.publish(MESSAGE, key=OTHER_KEY),
            service.backend_api("POST", "/v1/publish", [MESSAGE]),
            service.request("POST", f"/news/connect/{uid}", b'["news"]'),
        ]
        for answer in answers:
            assert (503, "10") == (answer.status, answer.headers["Retry-After"])
            assert "policy is refused" in answer.json()["detail"]
        old_form = service.backend_api("POST", "/", [MESSAGE])
        assert (503, b"{error:true}") == (old_form.status, old_form.data)
        assert (200, 200) == (service.publish(MESSAGE).status, service.connect(uid, "tasks").status)
        assert '"line": 15' in service.log_file.read_text()
        file.write_text(POLICY + NEW)
        wait_until(lambda: service.publish({"path": "news", "message": "x"}, key=OTHER_KEY).status == 200)
        assert 401 == service.publish(MESSAGE, key="a key that nobody has").status


def test_back_ends_alone_are_a_policy_when_no_app_is_named(nats: Nats, file: Path, uid: str) -> None:
    """I5: without apps nobody may hear anything by itself, and the back-end API works."""
    file.write_text(POLICY[POLICY.index("[backends") :])
    with Service(nats, file.parent, ROOTS_POLICY=str(file)) as service:
        wait_until(service.is_ready)
        assert (200, 404) == (service.publish(MESSAGE).status, service.connect(uid, "tasks").status)
        file.write_text("")
        wait_until(lambda: service.publish(MESSAGE).status == 401)
        assert 0 == service.metric("roots_subscriptions_policy_file_invalid")
