"""The REST API of docs/protocol.md, against a real database."""

import re
from typing import Any

import pytest
from falcon.testing import TestClient

from ..support import Sql
from .requests import assert_problem, create

Client = TestClient


def test_list_is_empty_when_there_are_no_tasks(client: Client) -> None:
    """A new house has an empty list, with an entity tag of its own."""
    result = client.simulate_get("/tasks")
    assert (result.status_code, result.json) == (200, {"content": []})
    assert re.fullmatch(r'"[0-9a-f]{32}"', result.headers["etag"])


def test_post_answers_location_and_content_when_the_task_is_valid(client: Client) -> None:
    """The answer has what the 2009 client reads: the task's URL as Location, relative, and its content."""
    result = client.simulate_post("/tasks", json={"description": "  buy milk \n", "isDone": True})
    content = result.json["content"]
    assert (result.status_code, result.headers["location"]) == (201, "/task/1")
    assert re.fullmatch(r'"v1-[0-9a-f]+"', result.headers["etag"])
    assert content.pop("tag") == result.headers["etag"].strip('"')
    times = content.pop("createdAt"), content.pop("updatedAt")
    assert content == {"guid": "/task/1", "description": "buy milk", "isDone": True, "version": 1}
    assert times[0] == times[1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", times[0])


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
def test_post_creates_when_the_content_type_is_any(client: Client, content_type: str | None) -> None:
    """The body is JSON whatever it is called, as the clients of 2009 named it."""
    result = client.simulate_post("/tasks", body=b'{"description":"x"}', content_type=content_type)
    assert result.status_code == 201


def test_sproutcore_source_works_when_it_sends_its_own_members(client: Client) -> None:
    """The 2009 data source creates, reads Location, and sends the whole record back with its guid and more."""
    headers = {"Accept": "application/json"}
    made = client.simulate_post(
        "/tasks", json={"description": "New Task", "isDone": False, "order": 1}, headers=headers
    )
    url = made.headers["location"]
    record = {**client.simulate_get(url, headers=headers).json["content"], "isDone": True, "storeKey": 7}
    changed = client.simulate_put(url, json=record, headers=headers)
    assert (changed.status_code, changed.json["content"]["isDone"]) == (200, True)
    listed = client.simulate_get("/tasks", headers=headers).json["content"]
    assert listed == [changed.json["content"]]
    assert client.simulate_delete(url, headers=headers).status_code == 204


def test_urls_work_when_they_end_in_a_slash(client: Client) -> None:
    """Every URL works with a slash at its end too."""
    assert client.simulate_post("/tasks/", json={"description": "x"}).status_code == 201
    assert client.simulate_get("/tasks/").status_code == 200
    assert client.simulate_get("/task/1/").status_code == 200
    assert client.simulate_put("/task/1/", json={"description": "y"}).status_code == 200
    assert client.simulate_delete("/task/1/").status_code == 204


def test_put_replaces_when_members_are_left_out(client: Client) -> None:
    """PUT gives the default to what the body leaves out."""
    create(client)
    client.simulate_patch("/task/1", json={"isDone": True})
    content = client.simulate_put("/task/1", json={"description": "buy bread"}).json["content"]
    assert (content["description"], content["isDone"], content["version"]) == ("buy bread", False, 3)


def test_patch_merges_when_members_are_left_out(client: Client) -> None:
    """PATCH keeps what the body leaves out."""
    create(client)
    result = client.simulate_patch("/task/1", json={"isDone": True})
    content = result.json["content"]
    assert (content["description"], content["isDone"], content["version"]) == ("buy milk", True, 2)
    assert result.headers["etag"] == f'"{content["tag"]}"'
    assert content["tag"].startswith("v2-")
    assert content["updatedAt"] >= content["createdAt"]


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("PUT", {"description": "buy milk "}),
        ("PATCH", {}),
        ("PATCH", {"isDone": False}),
        ("PATCH", {"guid": "x"}),
    ],
)
def test_write_keeps_the_version_when_it_changes_nothing(
    client: Client, shared_db: Sql, method: str, body: Any
) -> None:
    """What changes nothing is answered with the task as it is, and yields no event."""
    task = create(client)
    result = client.simulate_request(method, "/task/1", json=body)
    assert (result.status_code, result.json["content"]) == (200, task)
    assert shared_db.count_outbox() == 1


def test_delete_forgets_the_task_when_it_exists(client: Client) -> None:
    """A deleted task is gone for reading, changing and deleting."""
    create(client)
    result = client.simulate_delete("/task/1")
    assert (result.status_code, result.content) == (204, b"")
    for method, body in [("GET", None), ("PUT", {"description": "x"}), ("PATCH", {}), ("DELETE", None)]:
        assert_problem(client.simulate_request(method, "/task/1", json=body), 404)


@pytest.mark.parametrize(
    "task_id",
    [
        "0",
        "-1",
        "+1",
        "01",
        "1_000",
        "x",
        "1.0",
        "9223372036854775807",
        "9223372036854775808",
        "9" * 5000,
        "%D9%A1",
        "%00",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_task_is_not_found_when_its_id_is_unknown_or_absurd(client: Client, method: str, task_id: str) -> None:
    """An id that names no task, or can't name any, is a 404."""
    body = {"description": "x"} if method in ("PUT", "PATCH") else None
    assert_problem(client.simulate_request(method, f"/task/{task_id}", json=body), 404)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"description=x", 400, "body"),
        (b'{"description":"\xff"}', 400, "body"),
        (b'{"description":"\\ud800"}', 400, "body"),
        (b'{"x":' + b"[" * 100_000, 400, "body"),
        (b"null", 422, "body"),
        (b"[]", 422, "body"),
        (b'"x"', 422, "body"),
        (b"{}", 422, "description"),
        (b'{"description":null}', 422, "description"),
        (b'{"description":7}', 422, "description"),
        (b'{"description":["x"]}', 422, "description"),
        (b'{"description":""}', 422, "description"),
        (b'{"description":" \\n\\t "}', 422, "description"),
        (b'{"description":"a\\u0000b"}', 422, "description"),
        (b'{"description":"\\u0000"}', 422, "description"),
        (b'{"description":"\\u200b\\ufeff\\u2060"}', 422, "description"),
        (b'{"description":"\\u3164\\u2800"}', 422, "description"),
        (b'{"description":"a\\udc00"}', 400, "body"),
        (b'{"description":"\xed\xa0\x80"}', 400, "body"),
        (b'{"description":"' + b"x" * 2001 + b'"}', 422, "description"),
        (b'{"description":"x","isDone":1}', 422, "isDone"),
        (b'{"description":"x","isDone":"true"}', 422, "isDone"),
        (b'{"description":"x","isDone":null}', 422, "isDone"),
        (b'{"description":"' + b"x" * (1 << 20) + b'"}', 413, "body"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_write_is_refused_when_the_body_is_wrong(
    client: Client, shared_db: Sql, method: str, body: bytes, status: int, field: str
) -> None:
    """A wrong body is a problem that names the field, and changes nothing."""
    create(client)
    url = "/tasks" if method == "POST" else "/task/1"
    assert_problem(client.simulate_request(method, url, body=body), status, field)
    assert shared_db.count_outbox() == 1


@pytest.mark.parametrize(
    "description", ["x" * 2000, "  " + "ü" * 2000 + "  ", "𝄞" * 2000, 'quote " \\ / \u0001 \u2028']
)
def test_description_returns_as_it_was_sent_when_it_is_allowed(client: Client, description: str) -> None:
    """Length counts characters after trimming, and every character but U+0000 comes back."""
    task = create(client, description)
    assert task["description"] == description.strip()
    assert client.simulate_get("/task/1").json["content"] == task


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/tasks", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("DELETE", "/tasks", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/task/1", {"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"}),
    ],
)
def test_method_is_refused_when_the_resource_has_no_such(
    client: Client, method: str, path: str, allowed: set[str]
) -> None:
    """Another method is a 405 that names those there are."""
    result = client.simulate_request(method, path)
    assert_problem(result, 405)
    assert set(result.headers["allow"].split(", ")) == allowed


def test_url_is_not_found_when_it_is_unknown(client: Client) -> None:
    """Other URLs are problems as well."""
    for path in ("/", "/task", "/tasks/7", "/task/1/x"):
        assert_problem(client.simulate_get(path), 404)


def test_list_pages_follow_links_when_there_are_more(client: Client) -> None:
    """The next links lead through all tasks, each once, in order."""
    created = [create(client, f"task {number}") for number in range(5)]
    listed, url, pages = [], "/tasks?limit=2", 0
    while url:
        result = client.simulate_get(url)
        listed += result.json["content"]
        match = re.fullmatch(r"<(.+)>; rel=next", result.headers.get("link", "").replace('"', ""))
        url, pages = match[1] if match else "", pages + 1
    assert (listed, pages) == (created, 3)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=%D9%A1", "limit"),
        ("after=x", "after"),
        ("after=-1", "after"),
        ("after=9223372036854775808", "after"),
    ],
)
def test_list_is_refused_when_a_parameter_is_wrong(client: Client, query: str, field: str) -> None:
    """A wrong parameter is named."""
    assert_problem(client.simulate_get("/tasks", query_string=query), 422, field)


def test_list_pages_are_bounded_in_bytes_when_tasks_are_long(client: Client, shared_db: Sql) -> None:
    """Each page is at most 512 KiB, whatever the limit; the next links lead through all tasks, each once, in order."""
    # In JSON each of these characters takes six bytes.
    shared_db.rows(
        b"INSERT INTO task (description, is_done) SELECT repeat(chr(1), 2000), false FROM generate_series(1, 200)"
    )
    listed: list[str] = []
    url, pages = "/tasks", 0
    while url:
        result = client.simulate_get(url)
        assert 200 == result.status_code
        assert len(result.content) <= 512 << 10
        listed += [task["guid"] for task in result.json["content"]]
        pages += 1
        match = re.fullmatch(r"<(.+)>; rel=next", result.headers.get("link", "").replace('"', ""))
        url = match[1] if match else ""
    assert [f"/task/{number}" for number in range(1, 201)] == listed
    assert 5 == pages


def test_head_answers_headers_alone_when_asked(client: Client) -> None:
    """HEAD is GET without the body."""
    create(client)
    result = client.simulate_head("/task/1")
    assert (result.status_code, result.content) == (200, b"")
    assert result.headers["etag"].startswith('"v1-')
