"""Requests that several tests of the REST API send, and what they check of each answer."""

from typing import Any

from falcon.testing import Result, TestClient

from roots.http.web import PROBLEM_TYPE

Client = TestClient


def create(client: Client, description: str = "buy milk") -> dict[str, Any]:
    """Create a task and return it as the API does."""
    result = client.simulate_post("/tasks", json={"description": description})
    assert result.status_code == 201
    content: dict[str, Any] = result.json["content"]
    return content


def assert_problem(result: Result, status: int, field: str | None = None) -> None:
    """Check that `result` is a problem that names `field`."""
    problem = result.json
    assert (result.status_code, result.headers["content-type"]) == (status, PROBLEM_TYPE)
    assert (problem["status"], problem.get("field")) == (status, field)
