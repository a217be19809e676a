"""Entity tags of tasks and of lists: what is not modified, and what is not the state that a request was made for."""

import pytest
from falcon.testing import TestClient

from ..support import Sql
from .requests import assert_problem, create

Client = TestClient


def test_list_is_not_modified_when_the_client_has_it(client: Client) -> None:
    """The list's tag holds while nothing changes, also weakened by a proxy, and not after a change or a deletion."""
    create(client)
    create(client)
    tag = client.simulate_get("/tasks").headers["etag"]
    marked = [tag[:-1] + suffix + '"' for suffix in ("-gzip", ";gzip", "--gzip", "-br", "-zstd", "-deflate")]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*", *marked, f'"x-gzip", W/{marked[0]}'):
        result = client.simulate_get("/tasks", headers={"If-None-Match": known})
        assert (result.status_code, result.content, result.headers["etag"]) == (304, b"", tag)
    client.simulate_delete("/task/2")
    assert client.simulate_get("/tasks", headers={"If-None-Match": tag}).status_code == 200


def test_list_is_modified_when_only_the_next_link_is_new(client: Client) -> None:
    """A page that got a successor is another answer, though its tasks are the same."""
    create(client)
    tag = client.simulate_get("/tasks?limit=1").headers["etag"]
    create(client)
    result = client.simulate_get("/tasks?limit=1", headers={"If-None-Match": tag})
    assert (result.status_code, "link" in result.headers) == (200, True)


def test_task_is_not_modified_when_the_client_has_its_version(client: Client) -> None:
    """A task's tag names its state."""
    tag = create(client)["tag"]
    known = {"If-None-Match": f'"{tag}"'}
    assert client.simulate_get("/task/1", headers=known).status_code == 304
    assert client.simulate_head("/task/1", headers={"If-None-Match": f'"{tag}-gzip"'}).status_code == 304
    assert client.simulate_get("/task/1", headers={"If-None-Match": '"v1"'}).status_code == 200
    client.simulate_patch("/task/1", json={"isDone": True})
    assert client.simulate_get("/task/1", headers=known).headers["etag"].startswith('"v2-')


@pytest.mark.parametrize(
    ("if_match", "status"),
    [
        ('"TAG"', 200),
        ("*", 200),
        ('"v7", "TAG"', 200),
        ('"v1"', 412),
        ('"v2"', 412),
        ('W/"TAG"', 200),
        ('W/"v1"', 412),
        ('"TAG-gzip"', 200),
        ('"TAG;gzip"', 200),
        ('"TAG--gzip"', 200),
        ('"TAG-br"', 200),
        ('"TAG-zstd"', 200),
        ('W/"TAG-gzip"', 200),
        ('"TAG-gzip-br"', 200),
        ('"v7-gzip", "TAG-gzip"', 200),
        ('"v1-gzip", W/"v1"', 412),
        ('"v1-gzip"', 412),
        ('"v1-"', 412),
        ('"v1-0"', 412),
        ('"TAG-other"', 412),
        ('"TAGgzip"', 412),
        ('"\xe9"', 412),
        ('"gzip"', 412),
        ('"-gzip"', 412),
        ('"1"', 412),
        ('"v01"', 412),
        ('"v' + "9" * 30 + '"', 412),
        (",", 412),
        ("nonsense", 412),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_write_depends_on_the_version_when_it_has_if_match(
    client: Client, method: str, if_match: str, status: int
) -> None:
    """If-Match takes a list or `*`, and what a compressing proxy made of a tag; what fails changes nothing."""
    task = create(client)
    body = None if method == "DELETE" else {"description": "buy bread"}
    result = client.simulate_request(
        method, "/task/1", json=body, headers={"If-Match": if_match.replace("TAG", task["tag"])}
    )
    if status == 412:
        assert_problem(result, 412)
        assert client.simulate_get("/task/1").json["content"] == task
    else:
        assert result.status_code == (204 if method == "DELETE" else 200)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_write_is_refused_when_its_tag_is_of_another_task_that_had_the_id(
    client: Client, shared_db: Sql, method: str
) -> None:
    """After a restore ids are given again: what was meant for the task that is lost does nothing to the new one."""
    lost = create(client, "lost")
    shared_db.rows(b"DELETE FROM task")
    shared_db.rows(b"ALTER TABLE task ALTER COLUMN id RESTART")
    other = create(client, "lost")
    assert (other["guid"], other["version"]) == (lost["guid"], lost["version"])
    body = None if method == "DELETE" else {"description": "buy bread"}
    result = client.simulate_request(method, "/task/1", json=body, headers={"If-Match": f'"{lost["tag"]}"'})
    assert_problem(result, 412)
    known = {"If-None-Match": f'"{lost["tag"]}"'}
    assert client.simulate_get("/task/1", headers=known).json["content"] == other


def test_write_is_refused_when_its_tag_is_of_a_change_that_is_lost(client: Client, shared_db: Sql) -> None:
    """After a restore versions are given again: a tag of a lost change is not that of another one with its version."""
    create(client)
    shared_db.rows(b"CREATE TEMPORARY TABLE backup AS SELECT * FROM task")
    lost = client.simulate_patch("/task/1", json={"description": "lost"}).json["content"]
    shared_db.rows(
        b"UPDATE task SET (description, version, updated_at) = (SELECT description, version, updated_at FROM backup)"
    )
    shared_db.rows(b"DROP TABLE backup")
    kept = client.simulate_patch("/task/1", json={"description": "kept"}).json["content"]
    assert (kept["version"], lost["version"]) == (2, 2)
    assert_problem(client.simulate_delete("/task/1", headers={"If-Match": f'"{lost["tag"]}"'}), 412)
    assert client.simulate_get("/task/1").json["content"] == kept


def test_repeat_has_the_tag_of_its_first_answer_when_the_task_has_changed(client: Client) -> None:
    """The tag of a repeated answer is that of its content."""
    request = {"json": {"description": "x"}, "headers": {"Idempotency-Key": "k"}}
    first = client.simulate_post("/tasks", **request)
    client.simulate_patch("/task/1", json={"isDone": True})
    repeat = client.simulate_post("/tasks", **request)
    assert (repeat.json, repeat.headers["etag"]) == (first.json, first.headers["etag"])
