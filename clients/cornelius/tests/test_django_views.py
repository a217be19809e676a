"""The views of `cornelius.django`: what they answer to pages that ask for paths."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections
from django.http import HttpRequest
from django.test import Client
from django.urls import clear_url_caches, path

from cornelius import dudley
from cornelius.backend_api import MAX_DECISIONS
from cornelius.django import NOBODY, connecting, disconnect, subject_of

from . import django_project
from .support import CUT, GRANTED, READ_REVISION, REVISION, SUCCESS, UID_A, Scripted, ScriptedServer, Step, problem

pytestmark = pytest.mark.usefixtures("project")


@connecting
def connect(_request: HttpRequest, _uid: str, paths: list[str]) -> list[str]:
    """Let everybody hear tasks and what is open, and one more path that nobody asked for."""
    return [*(name for name in paths if name == "tasks" or name.startswith("open/")), "secret"]


@pytest.fixture
def page() -> Iterator[Client]:
    """Yield a browser whose requests go through Django's CSRF check."""
    django_project.urlpatterns[:] = [
        path("tasks/connect/<str:uid>", connect),
        path("tasks/disconnect/<str:uid>", disconnect),
    ]
    clear_url_caches()
    yield Client(enforce_csrf_checks=True)
    django_project.urlpatterns.clear()


@contextmanager
def atomic_requests() -> Iterator[None]:
    """Set ATOMIC_REQUESTS of the database."""
    connection = connections["default"]
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        yield
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False


def ask(page: Client, action: str, paths: Any, headers: dict[str, str] | None = None) -> Any:
    """Post paths as Pomona does."""
    body = paths if isinstance(paths, bytes) else json.dumps(paths).encode()
    url = f"/tasks/{action}/{UID_A}"
    return page.post(url, body, content_type="application/json", headers=headers or {})


def test_page_is_connected_to_what_the_view_allows_when_it_asks(page: Client) -> None:
    """I5: of what it asked for, and nothing else; the rest is refused by name."""
    with ScriptedServer([READ_REVISION, GRANTED]) as server:
        dudley.configure(url=server.url)
        answer = ask(page, "connect", ["users/7", "tasks", "tasks"])
    assert {"connected": ["tasks"], "refused": [{"path": "users/7", "reason": "policy"}]} == answer.json()
    assert {"uid": UID_A, "paths": ["tasks"], "if_revision": REVISION} == server.requests[1].body


def test_page_is_refused_when_the_view_allows_nothing(page: Client) -> None:
    """I5: 403, and the back-end API is asked for nothing but the revision."""
    with ScriptedServer([READ_REVISION]) as server:
        dudley.configure(url=server.url)
        answer = ask(page, "connect", ["users/7"])
    assert (403, ["users/7"]) == (answer.status_code, [item["path"] for item in answer.json()["refused"]])
    assert "application/problem+json" == answer.headers["Content-Type"]
    assert ["/v1/revision"] == [request.path for request in server.requests]


def test_view_decides_again_when_a_revocation_came_between(page: Client) -> None:
    """I5: what it chose before the revocation is not granted; what it chooses after it is."""
    decided: list[list[str]] = [["tasks", "open/1"], ["tasks"]]
    django_project.urlpatterns[:] = [
        path("tasks/connect/<str:uid>", connecting(lambda _request, _uid, _paths: decided.pop(0)))
    ]
    clear_url_caches()
    later = Scripted(200, {"revision": "1795000000000-8"})
    with ScriptedServer([READ_REVISION, problem(409, reason="revision"), later, GRANTED]) as server:
        dudley.configure(url=server.url)
        answer = ask(page, "connect", ["tasks", "open/1"])
    assert {"connected": ["tasks"], "refused": [{"path": "open/1", "reason": "policy"}]} == answer.json()
    assert {"uid": UID_A, "paths": ["tasks"], "if_revision": "1795000000000-8"} == server.requests[3].body


def test_page_is_asked_to_try_again_when_revocations_never_end(page: Client) -> None:
    """I7: after some decisions it is a 503."""
    with ScriptedServer([READ_REVISION, problem(409, reason="revision")] * MAX_DECISIONS) as server:
        dudley.configure(url=server.url)
        answer = ask(page, "connect", ["tasks"])
    assert (503, "1") == (answer.status_code, answer.headers["Retry-After"])


def test_page_begins_again_when_its_uid_belongs_to_another(page: Client) -> None:
    """Pomona begins with a new uid after a 403 with the reason `identity`."""
    with ScriptedServer([READ_REVISION, problem(409, reason="subject")]) as server:
        dudley.configure(url=server.url)
        answer = ask(page, "connect", ["tasks"])
    assert (403, "identity") == (answer.status_code, answer.json()["reason"])


def test_subject_is_who_is_logged_in_when_there_are_logins() -> None:
    """A primary key may be of any type; without a login it is a subject that no user has."""
    request = HttpRequest()
    assert subject_of(request) is None
    for user, subject in (
        (SimpleNamespace(is_authenticated=False, pk=None), NOBODY),
        (SimpleNamespace(is_authenticated=True, pk=7), "7"),
    ):
        request.user = user  # type: ignore[assignment]  # a user model of any project
        assert subject == subject_of(request)


def test_view_is_outside_of_a_transaction_when_requests_are_atomic(page: Client) -> None:
    """I5: in one that began earlier, it would read what was true before the revision."""
    seen: list[bool] = []

    def choose(_request: HttpRequest, _uid: str, paths: list[str]) -> list[str]:
        seen.append(connections["default"].in_atomic_block)
        return paths

    django_project.urlpatterns[:] = [path("tasks/connect/<str:uid>", connecting(choose, subject=lambda _: "ann"))]
    clear_url_caches()
    with ScriptedServer([READ_REVISION, GRANTED]) as server, atomic_requests():
        dudley.configure(url=server.url)
        ask(page, "connect", ["tasks"])
    assert [False] == seen
    assert "ann" == server.requests[1].body["subject"]


def test_page_gives_paths_back_when_it_asks(page: Client) -> None:
    """Whatever they are."""
    with ScriptedServer([SUCCESS]) as server:
        dudley.configure(url=server.url)
        assert {"disconnected": ["users/7"]} == ask(page, "disconnect", ["users/7"]).json()
    assert [{"path": "::disconnect", "message": f"{UID_A}->users/7"}] == server.requests[0].body


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"nonsense", 400),
        (b"\xff", 400),
        (b"", 400),
        ({}, 422),
        ("tasks", 422),
        ([1], 422),
        ([], 422),
        ([str(number) for number in range(129)], 422),
    ],
)
@pytest.mark.parametrize("action", ["connect", "disconnect"])
def test_page_is_told_what_is_wrong_when_it_sends_no_paths(page: Client, action: str, body: Any, status: int) -> None:
    """A problem, and nothing is done."""
    answer = ask(page, action, body)
    assert (status, status) == (answer.status_code, answer.json()["status"])


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, False),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://other.testserver"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://testserver"}, True),
        ({"Origin": "https://testserver"}, True),
        ({"Origin": "http://testserver.evil.example"}, False),
        ({"Origin": "http://testserver:81"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": ""}, False),
        ({"Origin": "https://trusted.example", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "http://trusted.example", "Sec-Fetch-Site": "cross-site"}, False),
        ({"Origin": "https://a.example.com", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "https://a.b.example.com", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Origin": "http://a.example.com"}, False),
        ({"Origin": "https://a.example.com:8000"}, False),
        ({"Origin": "https://evilexample.com"}, False),
        ({"Origin": "https://example.com.evil.example"}, False),
        ({"Origin": "https://*.example.com"}, True),
        ({"Origin": "http://a.example.org:8000"}, True),
        ({"Origin": "http://a.example.org"}, False),
        ({"Origin": "https://["}, False),
    ],
)
def test_page_of_another_site_is_refused_when_it_asks(
    page: Client, headers: dict[str, str], *, is_allowed: bool
) -> None:
    """It would connect its own uid by the rights of whoever is looking at it."""
    with ScriptedServer([READ_REVISION, GRANTED]) as server:
        dudley.configure(url=server.url)
        answer = ask(page, "connect", ["tasks"], headers)
        assert (200 if is_allowed else 403, 2 * is_allowed) == (answer.status_code, len(server.requests))


def test_view_takes_posts_only_when_it_is_asked(page: Client) -> None:
    """A GET changes nothing."""
    assert 405 == page.get(f"/tasks/connect/{UID_A}").status_code


@pytest.mark.parametrize(
    ("script", "status"),
    [([CUT], 503), ([READ_REVISION, problem(422)], 422), ([READ_REVISION, problem(410)], 410)],
)
def test_page_hears_whether_to_try_again_when_the_api_fails(page: Client, script: list[Step], status: int) -> None:
    """Pomona tries a 503 again, begins anew after a 410, and takes anything else as a refusal."""
    with ScriptedServer(script) as server:
        dudley.configure(url=server.url, timeout_seconds=0.3)
        told = ask(page, "connect", ["tasks"])
    assert (status, "1" if status == 503 else None) == (told.status_code, told.headers.get("Retry-After"))


@pytest.mark.parametrize("room", [3, 0])
def test_page_is_told_which_paths_are_over_the_limit_when_its_client_is_full(page: Client, room: int) -> None:
    """The others are connected: the 129th path costs nobody the 128th."""
    asked = [f"open/{number}" for number in range(5)]
    refused = [{"path": path, "reason": "limit"} for path in asked[room:]]
    granted = Scripted(200, {"connected": asked[:room], "refused": refused}) if room else problem(422, refused=refused)
    with ScriptedServer([READ_REVISION, granted]) as server:
        dudley.configure(url=server.url)
        answer = ask(page, "connect", asked)
    assert 200 if room else 422 == answer.status_code
    assert refused == answer.json()["refused"]
    assert asked[:room] == answer.json().get("connected", [])


def test_page_waits_as_long_as_the_api_asks_when_it_is_busy(page: Client) -> None:
    """An earlier try of the page would be refused as well."""
    with ScriptedServer([problem(503, headers={"Retry-After": "60"})]) as server:
        dudley.configure(url=server.url, timeout_seconds=1)
        assert "60" == ask(page, "connect", ["tasks"]).headers["Retry-After"]


def test_page_is_told_of_our_mistake_when_the_key_is_wrong(page: Client) -> None:
    """A 500, with the reason in Django's log: the page can do nothing about it."""
    with ScriptedServer([Scripted(401, b"{error:true}")]) as server:
        dudley.configure(url=server.url)
        page.raise_request_exception = False
        assert 500 == ask(page, "connect", ["tasks"]).status_code
