"""The listener against a scripted server."""

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.testkit.deadlines import clock

from cornelius import AnswerError, ConfigurationError, Gap, Listener, RefusedError, Update
from cornelius.listener import DISCONNECT_PATH, MAX_BEGINNINGS, QUICK_POLLS, QUICK_SECONDS

from .support import CONNECTED, CUT, UID_A, UID_B, Request, Scripted, ScriptedServer, Step, polled, problem

BEGUN = polled(f"{UID_A}/e.1.0")
CONNECTS = Scripted(200, CONNECTED)


def take(listener: Listener, number: int) -> list[Update]:
    """Return the next updates."""
    return [update for _, update in zip(range(number), listener, strict=False)]


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


PAGES = [
    Scripted(404, b"<html>"),
    Scripted(404, {"detail": "Nothing is here."}),
    Scripted(401, b""),
    Scripted(302, b"", {"Location": "http://127.0.0.1:1/"}),
    Scripted(502, b"<html>"),
    Scripted(200, b"<html>"),
    Scripted(200, b""),
    Scripted(200, b"\xff"),
    Scripted(200, {"hello": 1}),
    Scripted(200, [1]),
    Scripted(200, {"reconnectWith": "", "updates": []}),
    Scripted(200, {"reconnectWith": 1, "updates": []}),
    Scripted(200, {"reconnectWith": f"{UID_A}/1", "updates": {}}),
    Scripted(200, {"reconnectWith": f"{UID_A}/1"}),
]


@pytest.mark.parametrize("page", PAGES)
def test_listener_goes_on_when_a_proxy_answers_for_a_while(page: Scripted) -> None:
    """I3: nothing that is answered to a poll ends the listening; the same request is sent again."""
    waits: list[str | None] = []
    script = [page, BEGUN, CONNECTS, page, polled(f"{UID_A}/e.2.1", ("tasks", "{}"))]
    with (
        ScriptedServer(script) as server,
        Listener(server.url, ["tasks"], on_waiting=waits.append) as listener,
    ):
        assert Update("tasks", "{}") == next(iter(listener))
        paths = ["/comet/", "/comet/", f"/tasks/connect/{UID_A}", f"/comet/{UID_A}/e.1.0", f"/comet/{UID_A}/e.1.0"]
        assert paths == [request.path for request in server.requests]
    reason = "HTTP 200, but not an answer of Roots" if page.status == 200 else f"HTTP {page.status}"
    assert [reason, None, reason, None] == waits


@pytest.mark.parametrize("status", [200, 302, 401, 404, 502])
def test_listener_connects_in_the_end_when_a_proxy_answers_for_a_while(status: int) -> None:
    """A page is none of the application's answers."""
    waits: list[str | None] = []
    script = [BEGUN, Scripted(status, b"<html>"), CONNECTS, polled(f"{UID_A}/e.2.1", ("tasks", "{}"))]
    with ScriptedServer(script) as server, Listener(server.url, ["tasks"], on_waiting=waits.append) as listener:
        assert Update("tasks", "{}") == next(iter(listener))
    assert [f"connecting is answered with HTTP {status}", None] == waits


def test_listener_takes_what_it_can_read_when_an_answer_has_more() -> None:
    """A later Roots may send what this client does not know; no wait is longer than a few minutes."""
    updates = [1, {"path": "tasks"}, {"path": "tasks", "message": "1", "new": 2}]
    odd = Scripted(200, {"reconnectWith": f"{UID_A}/2", "updates": updates, "gaps": "?", "retry": "soon"})
    with ScriptedServer([BEGUN, CONNECTS, odd]) as server, Listener(server.url, ["tasks"]) as listener:
        assert Update("tasks", "1") == next(iter(listener))


@pytest.mark.parametrize("status", [400, 410])
def test_listener_begins_again_when_its_position_is_refused(status: int) -> None:
    """As when the state of Roots was lost; the caller hears of it, since something may have been missed."""
    resets: list[str] = []
    script = [BEGUN, CONNECTS, problem(status), polled(f"{UID_B}/1"), CONNECTS, polled(f"{UID_B}/2", ("tasks", "1"))]
    with (
        ScriptedServer(script) as server,
        Listener(server.url, ["tasks"], on_reset=lambda: resets.append(listener.uid)) as listener,
    ):
        assert Update("tasks", "1") == next(iter(listener))
    assert [UID_B] == resets


def endless(*steps: Step) -> Iterator[Step]:
    """Return a listener's beginning, and then the steps again and again."""
    return itertools.chain([BEGUN, CONNECTS], itertools.cycle(steps))


def polled_as_asked(request: Request) -> Scripted:
    """End the poll as one is ended by another of the same uid: at once, with its own position."""
    return polled(request.path.removeprefix("/comet/"))


@pytest.mark.parametrize(
    "steps",
    [
        (polled_as_asked,),
        (polled(f"{UID_A}/e.1.1"), polled(f"{UID_A}/e.1.2")),
        (polled(f"{UID_A}/e.1.0", ("tasks", "again")),),
        (polled(f"{UID_B}/1"), CONNECTS, polled(f"{UID_A}/1"), CONNECTS),
        (problem(410), polled(f"{UID_B}/1"), CONNECTS, problem(410), polled(f"{UID_A}/1"), CONNECTS),
    ],
    ids=["own position", "nothing new", "the same again", "new uids", "unknown uids"],
)
def test_listener_slows_down_when_polls_are_answered_at_once_with_nothing_new(steps: tuple[Step, ...]) -> None:
    """I7: whatever the reason, it never polls in a tight loop; it says so once."""
    waits: list[str | None] = []
    with (
        ScriptedServer(endless(*steps)) as server,
        Listener(server.url, ["tasks"], timeout_seconds=3, on_waiting=waits.append) as listener,
    ):
        list(listener)
        # Six polls without a wait, and then a random one that doubles its range each time.
        assert len(server.requests) < 60
    assert [QUICK_POLLS] == waits


def test_listener_keeps_its_pace_when_quick_polls_bring_news() -> None:
    """A busy path is no loop."""
    numbers = [polled(f"{UID_A}/{number}", ("tasks", str(number))) for number in range(300)]
    started = clock()
    with ScriptedServer([BEGUN, CONNECTS, *numbers]) as server, Listener(server.url, ["tasks"]) as listener:
        assert [str(number) for number in range(300)] == [update.message for update in take(listener, 300)]
    assert clock() - started < 20


def test_listener_says_what_it_waits_for_when_no_confirmation_comes() -> None:
    """The application has connected the path at another Roots."""
    waits: list[str | None] = []

    def hold(_request: Request) -> Scripted:
        threading.Event().wait(QUICK_SECONDS)
        return polled(f"{UID_A}/e.1.0")

    confirmed = polled(f"{UID_A}/e.1.1", ("tasks", ""))
    with (
        ScriptedServer([BEGUN, CONNECTS, hold, confirmed]) as server,
        Listener(server.url, ["tasks"], on_waiting=waits.append) as listener,
    ):
        assert Update("tasks", "") == next(iter(listener))
    assert ["no confirmation of tasks has come; is the application of another Roots?", None] == waits


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (problem(404, "The policy has no such app."), "no such app"),
        (problem(422, "The array has 1-128 different paths."), "different paths"),
        (Scripted(403, b"<html>"), "HTTP 403"),
    ],
)
def test_listener_fails_when_its_paths_can_not_be_connected(answer: Scripted, message: str) -> None:
    """What the application says for good ends the listening with the reason."""
    with (
        ScriptedServer([BEGUN, answer]) as server,
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


def test_listener_says_who_it_is_when_it_connects_and_not_when_it_polls() -> None:
    """Headers and cookies of a session; with cookies the page's origin, which the application may check."""
    script = [BEGUN, CONNECTS, polled(f"{UID_A}/e.1.1", ("tasks", "")), CONNECTS]
    with (
        ScriptedServer(script) as server,
        Listener(server.url, ["tasks"], headers={"X-Team": "7"}, cookies={"sessionid": "a", "b": "c"}) as listener,
    ):
        take(listener, 1)
        listener.disconnect("tasks")
        asked = [[headers.get(name) for name in ("X-Team", "Cookie", "Origin")] for headers in server.headers]
        told = ["7", "sessionid=a; b=c", server.url]
    nothing = [None, None, None]
    assert [nothing, told, nothing, told] == asked


def test_listener_asks_for_another_token_when_its_own_is_refused_or_has_ended() -> None:
    """Each is sent until it is of no use; a path that ended with it is connected again."""
    tokens = iter(["T1", "T2", "T3"])
    ended = Scripted(
        200,
        {
            "updates": [{"path": DISCONNECT_PATH, "message": "tasks", "reason": "ended"}],
            "reconnectWith": f"{UID_A}/e.1.2",
        },
    )
    script = [BEGUN, problem(401), CONNECTS, ended, CONNECTS, polled(f"{UID_A}/e.1.3", ("tasks", ""))]
    with (
        ScriptedServer(script) as server,
        Listener(server.url, ["tasks"], token=lambda: next(tokens)) as listener,
    ):
        assert [Update(DISCONNECT_PATH, "tasks", "ended"), Update("tasks", "")] == take(listener, 2)
        sent = [headers.get("Authorization") for headers in server.headers]
    assert [None, "Bearer T1", "Bearer T2", None, "Bearer T3", None] == sent


def test_listener_leaves_a_path_alone_when_it_was_taken_away_or_the_token_is_the_same() -> None:
    """What was revoked is not fought over."""
    withdrawn = polled(f"{UID_A}/e.1.2", (DISCONNECT_PATH, "tasks"))
    update = {"path": DISCONNECT_PATH, "message": "tasks", "reason": "ended"}
    ended = Scripted(200, {"updates": [update], "reconnectWith": f"{UID_A}/e.1.3"})
    with (
        ScriptedServer([BEGUN, CONNECTS, withdrawn, ended]) as server,
        Listener(server.url, ["tasks"], token=lambda: "T1") as listener,
    ):
        take(listener, 2)
        assert ["GET", "POST", "GET", "GET"] == [request.method for request in server.requests]


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\r\nc: d"}},
        {"headers": {"a": "ä"}},
        {"cookies": {"a": "b; c"}},
        {"cookies": {"a=": "b"}},
    ],
)
def test_listener_is_refused_without_showing_the_value_when_a_header_is_none(options: dict[str, Any]) -> None:
    """I10: it may be a secret."""
    with pytest.raises(ConfigurationError) as caught:
        Listener("http://127.0.0.1:1", ["tasks"], **options)
    assert "b; c" not in str(caught.value)
    assert "can't be sent" in str(caught.value)
