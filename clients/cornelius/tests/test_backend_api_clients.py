"""What the back-end API's client asks about clients, against a scripted server: connect, explain, forget, revoke."""

import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from cornelius import (
    AnswerError,
    Dudley,
    ForbiddenError,
    InvalidError,
    KeyRefusedError,
    OtherSubjectError,
    RevisionError,
    Revoked,
    TooManyPathsError,
    UnavailableError,
    UnknownUidError,
)
from cornelius.backend_api import MAX_DECISIONS

from .support import (
    CUT,
    GRANTED,
    READ_REVISION,
    REVISION,
    REVOKED,
    SUCCESS,
    UID_A,
    UID_B,
    Scripted,
    ScriptedServer,
    client_of,
    problem,
)


@pytest.mark.parametrize("uid", ["", ".", "..", "../revoke", "a?path=b", "a->b", "ä", "a" * 256, "a\n"])
def test_call_sends_nothing_when_the_uid_can_be_none(uid: str) -> None:
    """A uid comes from a browser: nothing that it says names another resource, or is another command."""
    with ScriptedServer([]) as server:
        dudley = client_of(server)
        for call in (dudley.explain, dudley.forget, lambda uid: dudley.connect(uid, ["tasks"])):
            with pytest.raises(UnknownUidError):
                call(uid)
    assert [] == server.requests


def test_connect_and_disconnect_send_one_request_when_called() -> None:
    """Whatever the number of paths; none for no path."""
    with ScriptedServer([GRANTED, SUCCESS]) as server:
        dudley = client_of(server)
        dudley.connect(UID_A, ["tasks", "users/7"])
        dudley.disconnect(UID_A, iter(["tasks"]))
        dudley.connect(UID_A, [])
    connect = {"uid": UID_A, "paths": ["tasks", "users/7"]}
    disconnect = {"path": "::disconnect", "message": f"{UID_A}->tasks"}
    assert [("POST", "/v1/connect", connect), ("POST", "/", [disconnect])] == server.requests


def test_connect_says_whose_the_client_is_when_it_is_given() -> None:
    """The revision that was read before goes with the grant; a time may be a datetime."""
    end = datetime(2026, 11, 30, tzinfo=UTC)
    with ScriptedServer([READ_REVISION, GRANTED, GRANTED]) as server:
        dudley = client_of(server)
        revision = dudley.revision("7&x")
        dudley.connect(UID_A, ["tasks"], subject="7", until=end, info={"name": "Ann"}, if_revision=revision)
        dudley.connect(UID_A, ["tasks"], "7", end.timestamp())
    given = {"uid": UID_A, "paths": ["tasks"], "subject": "7", "until": end.timestamp()}
    assert ("GET", "/v1/revision?subject=7%26x") == server.requests[0][:2]
    assert [{**given, "info": {"name": "Ann"}, "if_revision": REVISION}, given] == [
        request.body for request in server.requests[1:]
    ]


def test_paths_are_decided_again_when_a_revocation_came_between() -> None:
    """I5: each decision has a revision that was read before it; after five of them it is tried later."""
    decided: list[list[str]] = [["tasks", "users/7"], ["tasks"]]
    revoked = problem(409, reason="revision")
    with ScriptedServer([READ_REVISION, revoked, READ_REVISION, GRANTED]) as server:
        assert ["tasks"] == client_of(server).connect_decided(UID_A, lambda: decided.pop(0), "7")
        given = {"uid": UID_A, "paths": ["tasks"], "subject": "7", "if_revision": REVISION}
        assert given == server.requests[3].body
    with ScriptedServer([READ_REVISION]) as server:
        assert [] == client_of(server).connect_decided(UID_A, list)
    with ScriptedServer([READ_REVISION, revoked] * MAX_DECISIONS) as server, pytest.raises(UnavailableError):
        client_of(server).connect_decided(UID_A, lambda: ["tasks"])


@pytest.mark.parametrize("until", [datetime(2026, 11, 30), math.nan])  # noqa: DTZ001  # that is what is refused
def test_connect_sends_nothing_when_the_end_is_no_time(until: datetime | float) -> None:
    """A datetime without a time zone would be read by the clock of this machine."""
    with ScriptedServer([]) as server, pytest.raises(ValueError, match=r"time zone|JSON"):
        client_of(server).connect(UID_A, ["tasks"], until=until)


@pytest.mark.parametrize(
    ("reason", "error"), [("subject", OtherSubjectError), ("revision", RevisionError), ("new", AnswerError)]
)
def test_connect_raises_which_conflict_it_is_when_the_answer_is_409(reason: str, error: type[AnswerError]) -> None:
    """Each has its own remedy."""
    with ScriptedServer([problem(409, reason=reason)]) as server, pytest.raises(AnswerError) as caught:
        client_of(server).connect(UID_A, ["tasks"], subject="7")
    assert (error, 409) == (type(caught.value), caught.value.status)


@pytest.mark.parametrize("answer", [Scripted(200, []), Scripted(200, {}), Scripted(200, b"<html>")])
def test_revision_and_connect_raise_when_the_answer_is_none_of_the_api(answer: Scripted) -> None:
    """Another server at that address is told from a back-end API."""
    calls: list[Callable[[Dudley], object]] = [
        lambda dudley: dudley.revision("7"),
        lambda dudley: dudley.connect(UID_A, ["tasks"]),
    ]
    for call in calls:
        with ScriptedServer([answer]) as server, pytest.raises(AnswerError, match="is this"):
            call(client_of(server))


def test_connect_is_sent_again_when_the_failure_passes() -> None:
    """Connecting twice is connecting."""
    with ScriptedServer([problem(503, headers={"Retry-After": "0"}), CUT, GRANTED]) as server:
        client_of(server).connect(UID_A, ["tasks"])
    assert 3 == len(server.requests)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(422), InvalidError),
        (problem(401), KeyRefusedError),
        (problem(403, refused=[{"path": "tasks", "reason": "policy"}]), ForbiddenError),
        (problem(410), UnknownUidError),
        (Scripted(200, b"<html>"), AnswerError),
    ],
)
def test_connect_raises_what_to_do_when_it_is_refused(answer: Scripted, error: type[AnswerError]) -> None:
    """One request, and the error that names the remedy."""
    with ScriptedServer([answer]) as server, pytest.raises(AnswerError) as caught:
        client_of(server).connect(UID_A, ["tasks"])
    assert error is type(caught.value)


def test_connect_names_the_paths_that_are_left_out_when_the_client_hears_as_many_as_may_be() -> None:
    """Whatever the number of requests: what fits is connected, and the answers name the others."""
    paths = [f"p/{number}" for number in range(260)]
    first, second, third = (
        [{"path": path, "reason": "limit"} for path in some] for some in (paths[127:128], paths[128:256], paths[256:])
    )
    connected = Scripted(200, {"connected": paths[:127], "refused": first})
    script = [connected, problem(422, refused=second), problem(422, refused=third)]
    with ScriptedServer(script) as server, pytest.raises(TooManyPathsError, match="133 are not connected") as caught:
        client_of(server).connect(UID_A, paths)
    assert paths[127:] == caught.value.paths
    assert [128, 128, 4] == [len(request.body["paths"]) for request in server.requests]


def test_disconnect_goes_in_requests_that_the_api_takes_when_there_are_many_paths() -> None:
    """A thousand commands in each, every path once."""
    paths = [f"p/{number}" for number in range(2500)]
    with ScriptedServer([SUCCESS] * 3) as server:
        client_of(server).disconnect(UID_A, [*paths, *paths])
    assert [1000, 1000, 500] == [len(request.body) for request in server.requests]


def test_connect_raises_when_paths_are_one_text() -> None:
    """A text is a list of its letters, which nobody wants to hear."""
    with ScriptedServer([]) as server, pytest.raises(TypeError):
        client_of(server).connect(UID_A, "tasks")


def test_explain_returns_the_answer_when_asked_for_a_path() -> None:
    """The back-end API's own words, as they are."""
    with ScriptedServer([Scripted(200, {"uid": "…"})]) as server:
        assert {"uid": "…"} == client_of(server).explain(UID_A, path="users/7&x")
    assert f"/v1/clients/{UID_A}?path=users%2F7%26x" == server.requests[0].path


def test_clients_are_explained_in_few_requests_when_there_are_many() -> None:
    """A hundred in each; None stands for one that has ended."""
    uids = [f"{number:043}" for number in range(150)]
    script = [Scripted(200, {"clients": [{"n": 1}] * 99 + [None]}), Scripted(200, {"clients": [{"n": 2}] * 50})]
    with ScriptedServer(script) as server:
        answer = client_of(server).explain_all([*uids, *uids], path="tasks")
    assert (list(uids), None, {"n": 2}) == (list(answer), answer[uids[99]], answer[uids[100]])
    assert {"uids": uids[100:], "path": "tasks"} == server.requests[1].body
    for wrong in (b"{}", b"[]", b'{"clients": [null]}'):
        with ScriptedServer([Scripted(200, wrong)]) as server, pytest.raises(AnswerError, match="is this"):
            client_of(server).explain_all([UID_A, UID_B])


def test_forget_deletes_the_client_when_called() -> None:
    """The answer counts what was withdrawn."""
    with ScriptedServer([REVOKED]) as server:
        assert Revoked(clients=1, paths=2) == client_of(server).forget(UID_A)
    assert ("DELETE", f"/v1/clients/{UID_A}") == server.requests[0][:2]


@pytest.mark.parametrize(
    "named",
    [
        {"uid": UID_A},
        {"subject": "7"},
        {"path": "tasks"},
        {"uid": UID_A, "path": "tasks"},
        {"subject": "7", "path": "tasks"},
    ],
)
def test_revoke_sends_what_is_named_when_called(named: dict[str, str]) -> None:
    """Nothing more."""
    with ScriptedServer([REVOKED]) as server:
        assert Revoked(clients=1, paths=2) == client_of(server).revoke(**named)
    assert ("POST", "/v1/revoke", named) == server.requests[0]


@pytest.mark.parametrize("named", [{}, {"uid": UID_A, "subject": "7"}])
def test_revoke_sends_nothing_when_it_would_mean_everything(named: dict[str, str]) -> None:
    """Nobody means that."""
    with ScriptedServer([]) as server, pytest.raises(TypeError):
        client_of(server).revoke(**named)
    assert [] == server.requests


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"revoked": 1}', b'{"revoked": {}}'])
def test_revoke_raises_when_the_answer_is_none_of_the_api(body: bytes) -> None:
    """Nobody believes that something is withdrawn which is not."""
    with ScriptedServer([Scripted(200, body)]) as server, pytest.raises(AnswerError, match="is this"):
        client_of(server).revoke(path="tasks")
