"""The listener against a scripted server."""

import time

import pytest

from cornelius import AnswerError, Gap, Listener, RefusedError, Update
from cornelius.listener import DISCONNECT_PATH, MAX_BEGINNINGS
from roots_devstack.deadlines import clock

from .support import CONNECTED, CUT, UID_A, UID_B, Request, Scripted, ScriptedServer, polled

BEGUN = polled(f"{UID_A}/e.1.0")
CONNECTS = Scripted(200, CONNECTED)


def take(listener: Listener, number: int) -> list[Update]:
    """Return the next updates."""
    return [update for update, _ in zip(listener, range(number), strict=False)]


def test_listener_begins_connects_and_polls_when_iterated() -> None:
    """I3: each poll names the position that the last answer gave, and so acknowledges it."""
    script = [BEGUN, CONNECTS, polled(f"{UID_A}/e.1.1", ("tasks", "")), polled(f"{UID_A}/e.2.1", ("tasks", "{}"))]
    with ScriptedServer(script) as server, Listener(server.url, ["tasks"]) as listener:
        updates = iter(listener)
        assert Update("tasks", "") == next(updates)
        assert Update("tasks", "{}") == next(updates)
        assert UID_A == listener.uid
    expected = [
        Request("GET", "/comet/", None),
        Request("POST", f"/tasks/connect/{UID_A}", ["tasks"]),
        Request("GET", f"/comet/{UID_A}/e.1.0", None),
        Request("GET", f"/comet/{UID_A}/e.1.1", None),
    ]
    assert expected == server.requests


def test_listener_connects_again_when_its_uid_changes() -> None:
    """A client that Roots has forgotten connects its paths under the new uid, and the caller hears of it."""
    resets: list[str] = []
    script = [BEGUN, CONNECTS, polled(f"{UID_B}/e.9.0"), CONNECTS, polled(f"{UID_B}/e.9.1", ("tasks", ""))]
    with (
        ScriptedServer(script) as server,
        Listener(server.url, ["tasks", "news"], on_reset=lambda: resets.append(listener.uid)) as listener,
    ):
        assert Update("tasks", "") == next(iter(listener))
    assert [UID_B] == resets
    assert Request("POST", f"/tasks/connect/{UID_B}", ["tasks", "news"]) == server.requests[3]


def test_listener_begins_again_when_its_uid_ends_before_it_connects() -> None:
    """410 means that the uid is of no use, not that the paths are refused."""
    script = [BEGUN, Scripted(410, {"detail": "gone"}), polled(f"{UID_B}/e.1.0"), CONNECTS, polled("x/1", ("a", "b"))]
    with ScriptedServer([*script, CONNECTS]) as server, Listener(server.url, ["tasks"]) as listener:
        assert Update("a", "b") == next(iter(listener))
    assert f"/tasks/connect/{UID_B}" == server.requests[3].path


def test_listener_fails_when_every_uid_is_refused() -> None:
    """Two services that disagree on uids are told from one that has forgotten a client."""
    gone = Scripted(410, {"detail": "not ours"})
    with (
        ScriptedServer([BEGUN, gone] + [BEGUN, gone] * MAX_BEGINNINGS) as server,
        Listener(server.url, ["tasks"]) as listener,
        pytest.raises(AnswerError, match=r"not ours \(HTTP 410\)"),
    ):
        next(iter(listener))


def test_listener_reports_gaps_when_updates_are_lost() -> None:
    """I1: what can't be delivered is reported, path by path."""
    gaps: list[Gap] = []
    lost = [{"path": "tasks", "reason": "expired"}, {"path": "news", "reason": "epoch"}]
    script = [BEGUN, CONNECTS, polled(f"{UID_A}/f.1.1", ("tasks", "{}"), gaps=lost)]
    with ScriptedServer(script) as server, Listener(server.url, ["tasks"], on_gap=gaps.append) as listener:
        next(iter(listener))
    assert [Gap("tasks", "expired"), Gap("news", "epoch")] == gaps


@pytest.mark.parametrize("status", [200, 403])
def test_listener_names_the_paths_when_some_are_refused(status: int) -> None:
    """A listener that hears only a part of what it was asked for would fail silently."""
    refusal = {"connected": ["tasks"], "refused": [{"path": "users/7", "reason": "policy"}]}
    with (
        ScriptedServer([BEGUN, Scripted(status, refusal)]) as server,
        Listener(server.url, ["tasks", "users/7"]) as listener,
        pytest.raises(RefusedError) as caught,
    ):
        next(iter(listener))
    assert ["users/7"] == caught.value.paths


@pytest.mark.parametrize(
    "failure",
    [CUT, *(Scripted(status, b"busy", {"Retry-After": "0"}) for status in (429, 500, 502, 503, 504))],
)
def test_listener_tries_again_when_the_failure_passes(failure: Scripted) -> None:
    """I3: the same request is sent again, so nothing is acknowledged that did not come."""
    script = [failure, BEGUN, failure, CONNECTS, failure, failure, polled(f"{UID_A}/e.2.1", ("tasks", "{}"))]
    with ScriptedServer(script) as server, Listener(server.url, ["tasks"]) as listener:
        assert Update("tasks", "{}") == next(iter(listener))
    first, connect, poll = (
        ("GET", "/comet/", None),
        ("POST", f"/tasks/connect/{UID_A}", ["tasks"]),
        ("GET", f"/comet/{UID_A}/e.1.0", None),
    )
    assert [first, first, connect, connect, poll, poll, poll] == server.requests


def test_listener_waits_as_told_when_the_server_is_busy() -> None:
    """Retry-After is the least that a client waits."""
    script = [Scripted(503, {}, {"Retry-After": "1"}), BEGUN, CONNECTS, polled(f"{UID_A}/e.1.1", ("tasks", ""))]
    started = time.monotonic()
    with ScriptedServer(script) as server, Listener(server.url, ["tasks"]) as listener:
        next(iter(listener))
    assert time.monotonic() - started >= 1


def test_listener_waits_before_it_polls_when_a_draining_replica_asks() -> None:
    """I8: `retry` spreads the clients of a replica that stops; updates that came with it are not held back."""
    script = [BEGUN, CONNECTS, polled(f"{UID_A}/e.1.1", ("a", ""), retry=300), polled(f"{UID_A}/e.1.2", ("b", ""))]
    with ScriptedServer(script) as server, Listener(server.url, ["a", "b"]) as listener:
        updates = iter(listener)
        next(updates)
        assert 3 == len(server.requests)
        started = time.monotonic()
        next(updates)
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Scripted(404, {"detail": "The policy has no such app."}), "no such app"),
        (Scripted(200, b"<html>"), "not JSON"),
        (Scripted(200, {"hello": 1}), "none of Roots"),
        (Scripted(200, [1]), "none of Roots"),
        (Scripted(404, ["x"]), "HTTP 404"),
    ],
)
def test_listener_fails_when_trying_again_would_not_help(answer: Scripted, message: str) -> None:
    """An address that is not Roots, or a request that it can't serve, ends the listening with the reason."""
    with (
        ScriptedServer([answer]) as server,
        Listener(server.url, ["tasks"]) as listener,
        pytest.raises(AnswerError, match=message),
    ):
        next(iter(listener))


def test_listener_ends_in_time_when_nothing_comes() -> None:
    """The time holds for a request that is held, and nothing is raised at its end."""
    started, counted = time.monotonic(), clock()
    with ScriptedServer([BEGUN, CONNECTS]) as server, Listener(server.url, ["a"], timeout_seconds=0.3) as listener:
        assert [] == list(listener)
    assert time.monotonic() - started >= 0.3
    assert clock() - counted < 5


def test_listener_ends_in_time_when_nobody_answers() -> None:
    """The time holds for tries that fail, too."""
    with ScriptedServer([]) as server:
        url = server.url
    with Listener(url, ["tasks"], timeout_seconds=0.3) as listener:
        assert [] == list(listener)


def test_listener_goes_on_where_it_stopped_when_iterated_again() -> None:
    """A caller may take updates one by one; none of an answer with several is lost."""
    updates = [("tasks", str(number)) for number in range(3)]
    with (
        ScriptedServer([BEGUN, CONNECTS, polled(f"{UID_A}/e.4.1", *updates)]) as server,
        Listener(server.url, ["tasks"]) as listener,
    ):
        assert ["0", "1", "2"] == [next(iter(listener)).message for _ in range(3)]
    assert 3 == len(server.requests)


def test_listener_changes_its_paths_when_told() -> None:
    """Paths can come and go while it listens; a reset then connects those that it has."""
    disconnected = Scripted(200, {"disconnected": ["tasks"]})
    script = [BEGUN, CONNECTS, polled(f"{UID_A}/1", ("tasks", "")), CONNECTS, disconnected]
    script += [polled(f"{UID_B}/2"), CONNECTS, polled(f"{UID_B}/3", (DISCONNECT_PATH, "tasks"))]
    with ScriptedServer(script) as server, Listener(server.url, ["tasks"], app="my app") as listener:
        updates = iter(listener)
        next(updates)
        listener.connect("news")
        listener.disconnect("tasks")
        withdrawal = next(updates)
    assert [
        ("POST", f"/my%20app/connect/{UID_A}", ["news"]),
        ("POST", f"/my%20app/disconnect/{UID_A}", ["tasks"]),
        ("GET", f"/comet/{UID_A}/1", None),
        ("POST", f"/my%20app/connect/{UID_B}", ["news"]),
    ] == server.requests[3:7]
    assert (True, False) == (withdrawal.is_withdrawal, withdrawal.is_confirmation)
