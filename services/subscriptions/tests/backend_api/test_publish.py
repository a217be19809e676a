"""`POST /v1/publish` of the running service: what is stored, what is answered, and who is refused."""

import json
import time
from pathlib import Path

import pytest
from tests.testkit.deadlines import wait_until
from tests.testkit.diskless import diskless

from ..support import KEY, OTHER_KEY, Nats, Service

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_messages_are_stored_in_order_when_published(service: Service, nats: Nats) -> None:
    """I2: a batch is in the log in its order, each message where the answer says, with its time and its trace."""
    end = nats.events_end()
    before = time.time_ns()
    answer = service.publish(
        {"path": "tasks", "message": "one"}, {"path": "batch/a.b", "message": "zwei: ü", "id": "2"}, traceparent=TRACE
    )
    assert (200, "application/json") == (answer.status, answer.headers["Content-Type"])
    published = [{"path": "tasks", "seq": end + 1}, {"path": "batch/a.b", "seq": end + 2}]
    assert {"published": published} == answer.json()
    first, second = nats.events_after(end)
    assert [("roots.events.tasks", b"one"), ("roots.events.batch.a%2Eb", "zwei: ü".encode())] == [
        (event.subject, event.data) for event in (first, second)
    ]
    assert "todos:2" == second.headers["Nats-Msg-Id"]
    assert before <= int(first.headers["Roots-Time"]) <= int(second.headers["Roots-Time"]) <= time.time_ns()
    assert [TRACE, TRACE] == [event.headers["traceparent"] for event in (first, second)]


def test_largest_batch_is_stored_once_and_in_order_when_it_is_sent_twice(service: Service, nats: Nats) -> None:
    """I2: a thousand messages are pipelined in order, and a retry with the same ids adds none."""
    end = nats.events_end()
    batch = [{"path": f"batch/{n % 7}", "message": str(n), "id": f"largest-{n}"} for n in range(1000)]
    first, second = service.publish(*batch), service.publish(*batch)
    assert [{"path": f"batch/{n % 7}", "seq": end + 1 + n} for n in range(1000)] == first.json()["published"]
    assert [{**item, "duplicate": True} for item in first.json()["published"]] == second.json()["published"]
    assert [str(n).encode() for n in range(1000)] == [event.data for event in nats.events_after(end)]


def test_batch_of_8_mib_is_stored_when_there_is_no_temporary_folder(
    nats: Nats, policy_file: Path, tmp_path: Path
) -> None:
    """A read-only container without a /tmp takes what is promised: nothing of a body goes to a file."""
    end = nats.events_end()
    # Its escapes make a message of 64,000 bytes six times as long on its way.
    batch = [{"path": "tasks", "message": "\x01" * 64_000} for _ in range(21)]
    assert 7 << 20 < len(json.dumps(batch)) < 8 << 20
    with Service(nats, tmp_path, ROOTS_POLICY=str(policy_file), **diskless(tmp_path)) as service:
        wait_until(service.is_ready)
        assert 200 == service.publish(*batch).status
    assert end + len(batch) == nats.events_end()


def test_same_id_is_another_event_when_another_back_end_uses_it(service: Service, nats: Nats) -> None:
    """One back end can't keep another's event out of the log."""
    end = nats.events_end()
    assert 200 == service.publish({"path": "tasks", "message": "a", "id": "shared"}).status
    assert 200 == service.publish({"path": "news/1", "message": "b", "id": "shared"}, key=OTHER_KEY).status
    assert [b"a", b"b"] == [event.data for event in nats.events_after(end)]


def test_nothing_is_stored_when_one_path_is_not_the_keys(service: Service, nats: Nats) -> None:
    """A batch with a path that the key may not use is refused whole, and the path named."""
    end = nats.events_end()
    answer = service.publish({"path": "tasks", "message": "x"}, {"path": "users/7", "message": "x"})
    assert (403, [{"index": 1, "path": "users/7"}]) == (answer.status, answer.json()["refused"])
    assert end == nats.events_end()


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "body"),
        (b"[", 400, "body"),
        (b'{"path":"tasks","message":""}', 422, "body"),
        (b"[]", 422, "body"),
        (b"[1]", 422, "[0]"),
        (b'[{"path":"tasks","message":"\\ud800"}]', None, None),
        (b'[{"path":"tasks","message":"' + b"x" * (8 << 20) + b'"}]', 413, "body"),
        (b'[{"path":"tasks","message":"' + b"x" * 65_537 + b'"}]', 422, "[0].message"),
        (b'[{"path":"tasks","message":"\xff"}]', 400, "body"),
        (b"[" * 100_000, 400, "body"),
    ],
)
def test_body_is_refused_with_its_place_when_it_is_wrong(
    service: Service, nats: Nats, body: bytes, status: int | None, field: str | None
) -> None:
    """Bad input gets a clear answer and stores nothing."""
    end = nats.events_end()
    answer = service.backend_api("POST", "/v1/publish", body, Authorization=f"Bearer {KEY}")
    assert "application/problem+json" == answer.headers["Content-Type"]
    assert status in (None, answer.status)
    assert 400 <= answer.status < 500
    assert field in (None, answer.json().get("field"))
    assert end == nats.events_end()


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-key-of-the-right-length",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        f"Basic {KEY}",
        KEY,
        "Bearer ü",
    ],
)
def test_request_is_refused_when_its_key_is_not_known(service: Service, authorization: str | None) -> None:
    """Who has no key publishes nothing, and the answer tells nothing of keys."""
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = service.backend_api("POST", "/v1/publish", [{"path": "tasks", "message": "x"}], **headers)
    assert (401, "Bearer") == (answer.status, answer.headers["WWW-Authenticate"])
    assert "The back-end API needs the key of a back end: Authorization: Bearer KEY." == answer.json()["detail"]


def test_key_is_taken_when_the_scheme_is_written_otherwise(service: Service) -> None:
    """RFC 9110: the scheme's case does not count."""
    message = [{"path": "tasks", "message": "x"}]
    assert 200 == service.backend_api("POST", "/v1/publish", message, Authorization=f"bearer  {KEY}").status


def test_browser_is_refused_when_it_has_the_key(service: Service, nats: Nats) -> None:
    """A page that its user happens to open can't use the back-end API of that user's machine."""
    end = nats.events_end()
    message = {"path": "tasks", "message": "x"}
    for origin in ("https://evil.example", "http://127.0.0.1", "null"):
        assert 403 == service.publish(message, Origin=origin).status
        assert 403 == service.backend_api("POST", "/", [{"path": "tutorial/1", "message": "x"}], Origin=origin).status
    assert end == nats.events_end()


def test_back_end_is_told_to_wait_when_it_is_over_its_rate(service: Service, nats: Nats) -> None:
    """I7: over the rate the answer is 429 with the time to wait, nothing is stored, and others go on."""
    batch = [{"path": "news/1", "message": "x"}] * 600
    answers = [service.publish(*batch, key=OTHER_KEY) for _ in range(2)]
    end = nats.events_end()
    assert [200, 429] == [answer.status for answer in answers]
    assert 100 <= int(answers[1].headers["Retry-After"]) <= 600
    assert 200 == service.publish({"path": "tasks", "message": "x"}).status
    assert end + 1 == nats.events_end()


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/publish"), ("GET", "/"), ("PUT", "/v1/publish")])
def test_method_is_refused_when_it_is_another(service: Service, method: str, path: str) -> None:
    """Only POST does anything here."""
    answer = service.backend_api(method, path)
    assert 405 == answer.status
    assert "POST" in answer.headers["Allow"]


def test_backend_api_is_not_on_the_browsers_port_when_asked_there(service: Service) -> None:
    """What browsers reach has no back-end API, and the back-end API has nothing of theirs."""
    headers = {"Authorization": f"Bearer {KEY}"}
    assert 404 == service.request("POST", "/v1/publish", b"[]", **headers).status
    assert 404 == service.request("POST", "/", b"[]", **headers).status
    assert 404 == service.backend_api("POST", "/tasks/connect/x", []).status


def test_audit_tells_who_did_what_when_the_backend_api_is_called(service: Service) -> None:
    """I10: each use leaves a line with the back end, path and outcome, and no message, key or id."""
    before = len(service.audit_lines())
    service.publish(*[{"path": "batch/audit", "message": "a-secret-message", "id": "an-id"}] * 2)
    service.publish({"path": "users/7", "message": "a-secret-message"})
    service.publish({"path": "tasks", "message": "x"}, key="a-wrong-key-of-some-length")
    service.backend_api("POST", "/v1/publish", b"[", Authorization=f"Bearer {KEY}")
    lines = [
        {name: line.get(name) for name in ("backend", "action", "path", "outcome", "count")}
        for line in service.audit_lines()[before:]
    ]
    expected = [
        ("todos", "batch/audit", "stored", 1),
        ("todos", "batch/audit", "repeated", 1),
        ("todos", "users/7", "forbidden", 1),
        ("-", None, "unauthorized", None),
        ("todos", None, "malformed", None),
    ]
    assert expected == [(line["backend"], line["path"], line["outcome"], line["count"]) for line in lines]
    assert {"publish"} == {line["action"] for line in lines}
    log = service.log_file.read_text()
    assert not [secret for secret in ("a-secret-message", "a-wrong-key", KEY, OTHER_KEY) if secret in log]


def test_uses_are_counted_when_the_backend_api_is_called(service: Service) -> None:
    """Requests count by back end, action and outcome; messages by what became of them."""
    uses = 'roots_subscriptions_backend_api_calls_total{action="publish",backend="todos",outcome="done"}'
    messages = 'roots_subscriptions_backend_api_messages_total{backend="todos",outcome="stored"}'
    before = service.metric(uses), service.metric(messages)
    service.publish({"path": "tasks", "message": "1"}, {"path": "tasks", "message": "2"})
    assert (before[0] + 1, before[1] + 2) == (service.metric(uses), service.metric(messages))
