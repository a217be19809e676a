"""What the back-end API's client asks about clients, against a scripted server: connect, explain, forget, revoke."""

import pytest

from cornelius import (
    AnswerError,
    ForbiddenError,
    InvalidError,
    KeyRefusedError,
    Revoked,
    TooManyPathsError,
    UnknownUidError,
)

from .support import CUT, ERROR, REVOKED, SUCCESS, UID_A, Scripted, ScriptedServer, client_of, problem


@pytest.mark.parametrize("uid", ["", ".", "..", "../revoke", "a?path=b", "a->b", "ä", "a" * 256, "a\n"])
def test_call_sends_nothing_when_the_uid_can_be_none(uid: str) -> None:
    """A uid comes from a browser: nothing that it says names another resource, or is another command."""
    with ScriptedServer([]) as server:
        dudley = client_of(server)
        for call in (dudley.explain, dudley.forget, lambda uid: dudley.connect(uid, ["tasks"])):
            with pytest.raises(UnknownUidError):
                call(uid)
    assert [] == server.requests


def test_connect_and_disconnect_send_the_commands_of_2009_when_called() -> None:
    """One request, whatever the number of paths; none for no path."""
    with ScriptedServer([SUCCESS, SUCCESS]) as server:
        dudley = client_of(server)
        dudley.connect(UID_A, ["tasks", "users/7"])
        dudley.disconnect(UID_A, iter(["tasks"]))
        dudley.connect(UID_A, [])
    connects = [{"path": "::connect", "message": f"{UID_A}->{path}"} for path in ("tasks", "users/7")]
    disconnect = {"path": "::disconnect", "message": f"{UID_A}->tasks"}
    assert [("POST", "/", connects), ("POST", "/", [disconnect])] == server.requests


def test_connect_is_sent_again_when_the_failure_passes() -> None:
    """Connecting twice is connecting."""
    with ScriptedServer([Scripted(503, b"{error:true}", {"Retry-After": "0"}), CUT, SUCCESS]) as server:
        client_of(server).connect(UID_A, ["tasks"])
    assert 3 == len(server.requests)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (ERROR, InvalidError),
        (Scripted(401, b"{error:true}"), KeyRefusedError),
        (Scripted(403, b"{error:true}"), ForbiddenError),
        (Scripted(200, b"<html>"), AnswerError),
    ],
)
def test_connect_raises_what_to_do_when_it_is_refused(answer: Scripted, error: type[AnswerError]) -> None:
    """The answer of 2009 says little; its status says more."""
    with ScriptedServer([answer, Scripted(200, {"hears": []})]) as server, pytest.raises(AnswerError) as caught:
        client_of(server).connect(UID_A, ["tasks"])
    assert error is type(caught.value)


def test_connect_names_the_paths_that_are_left_out_when_the_client_hears_as_many_as_may_be() -> None:
    """The back-end API connects what fits and answers an error; what the client hears says which."""
    paths = [f"p/{number}" for number in range(130)]
    hears = [{"path": path} for path in paths[:128]]
    with (
        ScriptedServer([ERROR, Scripted(200, {"hears": hears})]) as server,
        pytest.raises(TooManyPathsError, match="2 are not connected") as caught,
    ):
        client_of(server).connect(UID_A, paths)
    assert paths[128:] == caught.value.paths


@pytest.mark.parametrize("answer", [problem(403), Scripted(200, {}), Scripted(200, [])])
def test_connect_says_what_it_knows_when_nothing_explains_the_error(answer: Scripted) -> None:
    """The first error stays."""
    with ScriptedServer([ERROR, answer]) as server, pytest.raises(InvalidError, match="more than 128"):
        client_of(server).connect(UID_A, ["tasks"])


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
