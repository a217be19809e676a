"""`POST /{app}/connect/{uid}` and `POST /{app}/disconnect/{uid}` of the running service."""

import json
import time
from collections.abc import Iterator

import pytest
from tests.testkit.deadlines import wait_until

from roots.contracts.grant_records import MAX_PATHS
from roots.contracts.uids import Uids
from roots.http.web import MAX_BODY_BYTES

from ..support import Nats, Service

PAGE = "https://app.example"
ACTIONS = pytest.mark.parametrize("action", ["connect", "disconnect"])


def test_connect_grants_what_the_policy_allows_when_some_is_refused(service: Service, nats: Nats, uid: str) -> None:
    """I5: the allowed paths are connected, the others named with the reason and not granted."""
    answer = service.connect(uid, "tasks", "users/7", "many/1")
    assert 200 == answer.status
    assert "application/json" == answer.headers["Content-Type"]
    expected = {"connected": ["tasks", "many/1"], "refused": [{"path": "users/7", "reason": "policy"}]}
    assert expected == answer.json()
    assert {"tasks", "many/1"} == set(nats.stored(uid)["paths"])


def test_connect_answers_403_when_all_is_refused(service: Service, uid: str) -> None:
    """I5: a client that may hear nothing is told so, path by path."""
    answer = service.connect(uid, "users/7", "users/8")
    assert (403, "application/problem+json") == (answer.status, answer.headers["Content-Type"])
    assert [{"path": f"users/{i}", "reason": "policy"} for i in (7, 8)] == answer.json()["refused"]


def test_connect_counts_a_path_once_when_it_is_repeated(service: Service, uid: str) -> None:
    """A repeated path is one path, also for the bound on their number."""
    answer = service.connect(uid, *["tasks"] * 200)
    assert (200, {"connected": ["tasks"], "refused": []}) == (answer.status, answer.json())


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "text/plain", "x-sproutcore/json"])
def test_connect_reads_the_body_when_its_type_is_another(service: Service, uid: str, content_type: str | None) -> None:
    """The clients of 2009 name no content type, or one of their own."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert 200 == service.request("POST", f"/tasks/connect/{uid}", b'["tasks"]', **headers).status


def test_disconnect_answers_200_when_the_path_is_not_held(service: Service, nats: Nats, uid: str) -> None:
    """A client wants a path gone; whether it was there makes no difference to it."""
    service.connect(uid, "tasks")
    for _ in range(2):
        answer = service.disconnect(uid, "tasks", "never")
        assert (200, {"disconnected": ["tasks", "never"]}) == (answer.status, answer.json())
    record = nats.stored(uid)
    assert ({}, {"tasks": record["n"]}) == (record["paths"], record["gone"])


@ACTIONS
@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "body"),
        (b"tasks", 400, "body"),
        (b'["tasks"', 400, "body"),
        (b'["\xff"]', 400, "body"),
        (b"[" * 100_000, 400, "body"),
        (b"{}", 422, "body"),
        (b"null", 422, "body"),
        (b'"tasks"', 422, "body"),
        (b"[]", 422, "body"),
        (b"[1]", 422, "[0]"),
        (b'["tasks", null]', 422, "[1]"),
        (b'["tasks", ["tasks"]]', 422, "[1]"),
        (b'["tasks", ""]', 422, "[1]"),
        (b'["tasks", "a b"]', 422, "[1]"),
        (b'["/tasks"]', 422, "[0]"),
        (b'["tasks/*"]', 422, "[0]"),
        (b'["tasks.>", "tasks/>"]', 422, "[0]"),
        (b'["::+::disconnect"]', 422, "[0]"),
        (b'["t\\u0430sks"]', 422, "[0]"),
        (json.dumps(["x" * 65]).encode(), 422, "[0]"),
        (json.dumps(["a/b/c/d/e/f/g/h/i"]).encode(), 422, "[0]"),
        (json.dumps([f"many/{i}" for i in range(MAX_PATHS + 1)]).encode(), 422, "body"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "body"),
    ],
)
def test_body_is_refused_when_it_is_no_array_of_paths(
    service: Service, uid: str, action: str, body: bytes, status: int, field: str
) -> None:
    """The problem names the field or the index at fault."""
    answer = service.request("POST", f"/tasks/{action}/{uid}", body)
    assert (status, "application/problem+json") == (answer.status, answer.headers["Content-Type"])
    assert (status, field) == (answer.json()["status"], answer.json()["field"])


def test_connect_answers_422_when_one_client_would_hear_too_many_paths(service: Service, uid: str) -> None:
    """I7: the bound counts what the client holds already, and the answer says so."""
    assert 200 == service.connect(uid, *[f"many/{i}" for i in range(MAX_PATHS)]).status
    answer = service.connect(uid, "tasks")
    assert 422 == answer.status
    assert f"at most {MAX_PATHS} paths; this one has {MAX_PATHS}" in answer.json()["detail"]
    assert [{"path": "tasks", "reason": "limit"}] == answer.json()["refused"]


def test_connect_grants_what_fits_when_a_batch_goes_over_the_limit(service: Service, nats: Nats, uid: str) -> None:
    """I7: the 129th path is refused by itself; those before it, and what is held already, are connected."""
    batch = [f"many/{i}" for i in range(MAX_PATHS)]
    assert 200 == service.connect(uid, "tasks").status
    answer = service.connect(uid, *batch)
    expected = {"connected": batch[:-1], "refused": [{"path": batch[-1], "reason": "limit"}]}
    assert (200, expected) == (answer.status, answer.json())
    assert {"tasks", *batch[:-1]} == nats.stored(uid)["paths"].keys()
    mixed = service.connect(uid, "users/7", "tasks", batch[-1]).json()
    refused = [{"path": "users/7", "reason": "policy"}, {"path": batch[-1], "reason": "limit"}]
    assert {"connected": ["tasks"], "refused": refused} == mixed
    none = service.connect(uid, "users/7", batch[-1])
    assert (422, refused) == (none.status, none.json()["refused"])
    service.disconnect(uid, "tasks")
    assert {"connected": [batch[-1]], "refused": []} == service.connect(uid, batch[-1]).json()


@ACTIONS
def test_uid_is_gone_when_it_was_not_minted_here_or_has_expired(service: Service, uids: Uids, action: str) -> None:
    """I5: only a uid of this system can be granted anything; the client learns that it has to begin again."""
    forged = Uids(b"another key, as long as the true one").mint()
    expired = uids.mint(now=time.time() - 8 * 24 * 3600)
    for uid in (forged, expired, "x", "*", ">", "a.b", f"{uids.mint()}x", "%00", "%F0%9F%8C%B1"):
        answer = service.request("POST", f"/tasks/{action}/{uid}", b'["tasks"]')
        assert (410, "application/problem+json") == (answer.status, answer.headers["Content-Type"]), uid


@ACTIONS
@pytest.mark.parametrize("app", ["unknown", "Tasks", "tasks.", "%74asks%20"])
def test_app_is_unknown_when_the_policy_lacks_it(service: Service, uid: str, action: str, app: str) -> None:
    """An app without a table in the policy does not exist."""
    assert 404 == service.request("POST", f"/{app}/{action}/{uid}", b'["tasks"]').status


def test_checks_come_in_order_when_everything_is_wrong(service: Service, uid: str) -> None:
    """The app comes first, then the uid, the body, the policy."""
    statuses = [
        service.request("POST", "/unknown/connect/x", b"no").status,
        service.request("POST", "/tasks/connect/x", b"no").status,
        service.request("POST", f"/closed/connect/{uid}", b"no").status,
        service.request("POST", f"/closed/connect/{uid}", b'["tasks"]').status,
    ]
    assert [404, 410, 400, 403] == statuses


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_method_is_refused_when_it_is_not_post(service: Service, uid: str, method: str) -> None:
    """405 names what is allowed."""
    answer = service.request(method, f"/tasks/connect/{uid}")
    assert 405 == answer.status
    assert "POST" in answer.headers["Allow"]


@pytest.fixture(scope="module")
def service_of_pages(nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield the service with a policy that names the origin of a page."""
    folder = tmp_path_factory.mktemp("pages")
    file = folder / "policy.toml"
    file.write_text(f"origins = ['{PAGE}']\n[apps.tasks]\nallow = [{{ paths = ['tasks'], who = 'anyone' }}]\n")
    with Service(nats, folder, ROOTS_POLICY=str(file)) as running:
        wait_until(running.is_ready)
        yield running


@ACTIONS
def test_preflight_is_answered_when_the_policy_names_the_origin(
    service_of_pages: Service, uid: str, action: str
) -> None:
    """A listed page may send JSON and its token; without a cookie in the policy no credentials."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = service_of_pages.request("OPTIONS", f"/tasks/{action}/{uid}", b"", **asked, Origin=PAGE)
    assert (200, PAGE, "7200", "Origin", None) == (
        answer.status,
        answer.headers["Access-Control-Allow-Origin"],
        answer.headers["Access-Control-Max-Age"],
        answer.headers["Vary"],
        answer.headers.get("Access-Control-Allow-Credentials"),
    )
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    allowed = set(answer.headers["Access-Control-Allow-Headers"].lower().split(", "))
    assert {"authorization", "content-type", "traceparent"} <= allowed
    other = service_of_pages.request("OPTIONS", f"/tasks/{action}/{uid}", b"", **asked, Origin="https://evil.example")
    assert not any(name.lower().startswith("access-control-") for name in other.headers)


@ACTIONS
def test_answers_can_be_read_when_the_policy_names_the_origin(service_of_pages: Service, uid: str, action: str) -> None:
    """Good or bad, a listed page reads the answer; another page may change nothing, and reads nothing."""
    url = f"/tasks/{action}/{uid}"
    page = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
    answers = [
        service_of_pages.request("POST", url, b'["tasks"]', **page),
        service_of_pages.request("POST", url, b"no", **page),
        service_of_pages.request("POST", f"/tasks/{action}/x", b'["tasks"]', **page),
        service_of_pages.request("POST", f"/none/{action}/{uid}", b'["tasks"]', **page),
        service_of_pages.request("GET", url, b"", **page),
    ]
    assert [200, 400, 410, 404, 405] == [answer.status for answer in answers]
    for answer in answers:
        assert PAGE == answer.headers["Access-Control-Allow-Origin"]
        assert {"Retry-After", "WWW-Authenticate"} <= set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    other = service_of_pages.request("POST", url, b'["tasks"]', **{**page, "Origin": "https://evil.example"})
    assert (403, None) == (other.status, other.headers.get("Access-Control-Allow-Origin"))


def test_metrics_count_paths_by_result_when_clients_connect(service: Service, uids: Uids) -> None:
    """Paths are counted by what became of them, and requests by route template, so that no uid is a label."""
    granted = 'roots_subscriptions_connect_paths_total{result="granted"}'
    confirmed = 'roots_subscriptions_connect_paths_total{result="confirmed"}'
    refused = 'roots_subscriptions_connect_paths_total{result="refused"}'
    withdrawn = 'roots_subscriptions_disconnect_paths_total{result="withdrawn"}'
    absent = 'roots_subscriptions_disconnect_paths_total{result="absent"}'
    names = (granted, confirmed, refused, withdrawn, absent)
    before = {name: service.metric(name) for name in names}
    uid = uids.mint()
    service.connect(uid, "tasks", "many/1", "users/7")
    service.connect(uid, "tasks")
    service.disconnect(uid, "tasks", "never")
    counted = {name: service.metric(name) - before[name] for name in names}
    assert {granted: 2, confirmed: 1, refused: 1, withdrawn: 1, absent: 1} == counted
    text = service.admin("/metrics").data.decode()
    assert 'route="/{app}/connect/{uid}",status="200"' in text
    assert 'roots_subscriptions_broker_seconds_count{operation="write"}' in text
    assert uid not in text


def test_log_holds_no_uid_when_a_client_connects(service: Service, uids: Uids) -> None:
    """I10: a uid is all that a thief would need, so the log has none, not even at its finest level."""
    uid = uids.mint()
    service.connect(uid, "tasks")
    service.request("POST", f"/tasks/connect/{uid}", b"no")
    log = service.log_file.read_text()
    assert '"route": "/{app}/connect/{uid}"' in log
    assert uid not in log
