"""The back-end API's client against a scripted server: what it sends, what it makes of answers, what it sends again."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.testkit.deadlines import clock

from cornelius import (
    AnswerError,
    CorneliusError,
    Dudley,
    ForbiddenError,
    InvalidError,
    KeyRefusedError,
    Message,
    Published,
    PublishError,
    UnavailableError,
    UnknownUidError,
)

from .support import (
    CUT,
    KEY,
    UID_A,
    Log,
    Request,
    Scripted,
    ScriptedServer,
    Step,
    client_of,
    problem,
)


def test_update_publishes_with_key_and_id_when_it_is_called() -> None:
    """One message, one request, one position in the log."""
    log = Log()
    with ScriptedServer([log.publish]) as server:
        assert Published("tasks", 1) == client_of(server).update("tasks", '{"guid": "/task/1", "description": "ä"}')
    (request,), (headers,) = server.requests, server.headers
    assert ("POST", "/v1/publish") == request[:2]
    assert f"Bearer {KEY}" == headers["Authorization"]
    (sent,) = request.body
    assert {"path": "tasks", "message": '{"guid": "/task/1", "description": "ä"}', "id": sent["id"]} == sent
    assert 32 == len(sent["id"])


def test_update_sends_no_authorization_when_there_is_no_key() -> None:
    """The API of 2009 asked for none, and it can be allowed."""
    with ScriptedServer([Log().publish]) as server:
        Dudley(url=server.url).update("tasks", "")
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    "items",
    [
        [("a", "1"), ("b", "2")],
        [["a", "1"], ["b", "2"]],
        [{"path": "a", "message": "1"}, {"path": "b", "message": "2", "id": "mine"}],
        [Message("a", "1"), Message("b", "2")],
        (pair for pair in [("a", "1"), ("b", "2")]),
    ],
)
def test_updates_takes_messages_when_they_are_written_in_any_form(items: Any) -> None:
    """Pairs, mappings and Messages are one thing to the back-end API; an id of the caller's own stays."""
    log = Log()
    with ScriptedServer([log.publish]) as server:
        assert [Published("a", 1), Published("b", 2)] == client_of(server).updates(items)
    assert [("a", "1"), ("b", "2")] == list(log.stored.values())
    assert "mine" == list(log.stored)[1] or 32 == len(list(log.stored)[1])


def test_updates_sends_nothing_when_there_is_nothing() -> None:
    """An empty list is no request."""
    with ScriptedServer([]) as server:
        assert [] == client_of(server).updates([])
    assert [] == server.requests


@pytest.mark.parametrize(
    "item",
    [
        1,
        ("a",),
        "ab",
        b"ab",
        ("a", {"guid": 1}),
        ("a", None),
        ("a", "\ud800"),
        {"path": "a"},
        {"path": "a", "message": "", "qos": "1"},
    ],
)
def test_updates_raises_before_anything_is_sent_when_one_is_no_message(item: Any) -> None:
    """A mistake in the caller publishes nothing, not even what came before it."""
    with ScriptedServer([]) as server, pytest.raises((TypeError, ValueError)):
        client_of(server).updates([("good", "1"), item])
    assert [] == server.requests


def test_updates_keeps_the_order_when_there_are_more_than_one_request_takes() -> None:
    """I2: batches go one after the other, a thousand messages in each."""
    log = Log()
    with ScriptedServer([log.publish] * 3) as server:
        published = client_of(server).updates(("tasks", str(number)) for number in range(2500))
    assert [1000, 1000, 500] == [len(request.body) for request in server.requests]
    assert [str(number) for number in range(2500)] == log.messages
    assert list(range(1, 2501)) == [item.seq for item in published]


@pytest.mark.parametrize(
    "passing",
    [
        CUT,
        *(problem(status, headers={"Retry-After": "0"}) for status in (408, 425, 429, 500, 502, 503, 504)),
        Scripted(503, b"<html>"),
        problem(503, headers={"Retry-After": "soon"}),
    ],
)
def test_update_is_sent_again_with_its_id_when_the_failure_passes(passing: Scripted) -> None:
    """The same request: the id is what makes that safe."""
    log = Log()
    with ScriptedServer([passing, passing, log.publish]) as server:
        client_of(server).update("tasks", "1")
    assert 3 == len(server.requests)
    assert 1 == len({str(request) for request in server.requests})


def test_update_is_published_once_when_the_server_dies_after_storing_it() -> None:
    """The answer is lost, the message is not; the second try finds it stored, at its first position."""
    log = Log()
    with ScriptedServer([log.publish, log.store_and_die, log.publish]) as server:
        dudley = client_of(server)
        dudley.update("tasks", "before")
        assert Published("tasks", 2) == dudley.update("tasks", "once")
    assert ["before", "once"] == log.messages


def test_updates_goes_on_where_it_was_when_the_server_dies_between_batches() -> None:
    """Of three batches the second one is lost after it was stored: all is there, once and in order."""
    log = Log()
    with ScriptedServer([log.publish, log.store_and_die, log.publish, log.publish]) as server:
        client_of(server).updates(("tasks", str(number)) for number in range(3000))
    assert [str(number) for number in range(3000)] == log.messages


def test_update_waits_as_told_when_the_api_is_busy() -> None:
    """Retry-After is the least that it waits."""
    with ScriptedServer([problem(429, headers={"Retry-After": "1"}), Log().publish]) as server:
        started = time.monotonic()
        client_of(server).update("tasks", "1")
    assert time.monotonic() - started >= 1


def test_update_gives_up_at_once_when_it_would_have_to_wait_for_too_long() -> None:
    """A back end's own request is not held for a wait that can't help it; the error says how long it would be."""
    with ScriptedServer([problem(503, headers={"Retry-After": "60"})]) as server:
        started = clock()
        with pytest.raises(UnavailableError, match="HTTP 503") as caught:
            client_of(server, timeout_seconds=5).update("tasks", "1")
    assert clock() - started < 3
    assert 60 == caught.value.retry_after_seconds


@pytest.mark.parametrize("script", [[], [CUT] * 100, [problem(503)] * 100], ids=["held", "cut", "busy"])
def test_update_ends_in_its_time_when_the_failure_does_not_pass(script: list[Step]) -> None:
    """I7: a call is bounded, whatever the back-end API does."""
    with ScriptedServer(script) as server:
        started = clock()
        with pytest.raises(UnavailableError):
            client_of(server, timeout_seconds=0.5).update("tasks", "1")
        assert clock() - started < 3


def test_update_ends_in_its_time_when_nobody_listens() -> None:
    """The reason is there to read, without the address."""
    with ScriptedServer([]) as server:
        dudley = client_of(server, timeout_seconds=0.5)
    with pytest.raises(UnavailableError, match="no connection"):
        dudley.update("tasks", "1")


def test_error_has_the_unpublished_messages_when_the_api_is_gone() -> None:
    """Publishing these again, with their ids, loses nothing and doubles nothing."""
    log = Log()
    with ScriptedServer([log.publish, log.store_and_die]) as server, pytest.raises(UnavailableError) as caught:
        client_of(server, timeout_seconds=1).updates(("tasks", str(number)) for number in range(2500))
    assert [str(number) for number in range(1000, 2500)] == [message.message for message in caught.value.messages]

    with ScriptedServer([log.publish, log.publish]) as server:
        client_of(server).updates(caught.value.messages)
    assert [str(number) for number in range(2500)] == log.messages


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidError),
        (401, KeyRefusedError),
        (403, ForbiddenError),
        (404, InvalidError),
        (405, AnswerError),
        (410, UnknownUidError),
        (413, InvalidError),
        (422, InvalidError),
        (302, AnswerError),
    ],
)
def test_call_raises_what_to_do_when_trying_again_would_not_help(status: int, error: type[AnswerError]) -> None:
    """One request, no second one; each error's docstring says what to mend."""
    calls: list[Callable[[Dudley], object]] = [
        lambda dudley: dudley.update("tasks", "1"),
        lambda dudley: dudley.connect(UID_A, ["tasks"]),
        lambda dudley: dudley.explain(UID_A),
        lambda dudley: dudley.forget(UID_A),
        lambda dudley: dudley.revoke(path="tasks"),
    ]
    for call in calls:
        with ScriptedServer([problem(status, headers={"Location": "http://127.0.0.1:1/"})]) as server:
            with pytest.raises(AnswerError) as caught:
                call(client_of(server))
            assert 1 == len(server.requests)
        assert (error, status) == (type(caught.value), caught.value.status)


@pytest.mark.parametrize("body", [b"<html>", b"null", b"[]", b'{"published": 1}', b'{"published": [{}]}', b""])
def test_update_raises_when_the_answer_is_none_of_the_api(body: bytes) -> None:
    """Another server at that address is told from a back-end API."""
    with ScriptedServer([Scripted(200, body)]) as server, pytest.raises(AnswerError, match="is this"):
        client_of(server).update("tasks", "1")


def test_connections_are_kept_when_calls_follow_each_other() -> None:
    """A TCP handshake for each update would be most of its time."""
    log = Log()
    with ScriptedServer([log.publish] * 20) as server:
        dudley = client_of(server)
        for number in range(20):
            dudley.update("tasks", str(number))
        assert 1 == len(server.connections)
        dudley.close()


def test_errors_show_no_key_and_no_uid_when_they_are_printed() -> None:
    """I10: errors end in logs."""
    with ScriptedServer([problem(401), CUT, CUT, CUT, CUT]) as server:
        dudley = client_of(server, timeout_seconds=0.3)
        shown = []
        for call in (lambda: dudley.explain(UID_A), lambda: dudley.connect(UID_A, ["tasks"])):
            with pytest.raises(CorneliusError) as caught:
                call()
            shown += [repr(caught.value), str(caught.value), str(caught.value.__dict__)]
    assert [] == [text for text in shown if KEY in text or UID_A in text]


def test_infinite_time_is_allowed_when_the_caller_wants_it() -> None:
    """A command for a cron job may wait for ever."""
    with ScriptedServer([CUT, Log().publish]) as server:
        client_of(server, timeout_seconds=math.inf).update("tasks", "1")


def refusing(status: int, member: str, bad: str) -> Callable[[Request], Scripted]:
    """Return a back-end API that refuses a request as long as it has the message `bad`, and names those."""

    def answer(request: Request) -> Scripted:
        named = [
            {"index": index, "field": "path", "detail": "no path"}
            for index, item in enumerate(request.body)
            if bad == item["message"]
        ]
        assert named
        return Scripted(status, {"detail": "some are wrong", member: named})

    return answer


@pytest.mark.parametrize(("status", "member"), [(403, "refused"), (422, "errors")])
def test_updates_publishes_all_others_when_the_api_refuses_some(status: int, member: str) -> None:
    """One message that is wrong stops no other; the error tells which it was, and why."""
    log = Log()
    with (
        ScriptedServer([log.publish, refusing(status, member, "1500"), log.publish, log.publish]) as server,
        pytest.raises(PublishError, match="1 of 2500 messages were not published") as caught,
    ):
        client_of(server).updates(("tasks", str(number)) for number in range(2500))
    (failure,) = caught.value.failures
    assert ("1500", status) == (failure.message.message, failure.status)
    assert [str(number) for number in range(2500) if number != 1500] == log.messages
    assert 2499 == len(caught.value.published)


def test_updates_sends_nothing_again_when_every_message_is_refused() -> None:
    """There is nothing left to send."""
    with (
        ScriptedServer([refusing(422, "errors", "bad")]) as server,
        pytest.raises(PublishError, match=r"2 of 2 messages were not .*path: no path \(HTTP 422\)"),
    ):
        client_of(server).updates([("a", "bad"), ("b", "bad")])
    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(403, refused=[{"index": 0, "path": "a"}]), ForbiddenError),
        (problem(422, errors=[{"index": 0, "field": "path", "detail": "no"}]), InvalidError),
        (Scripted(413, b""), InvalidError),
        (problem(403), ForbiddenError),
        (problem(422), InvalidError),
        (problem(401), KeyRefusedError),
        (problem(422, errors=[{"index": 1}]), AnswerError),
        (problem(422, errors=["x"]), AnswerError),
    ],
)
def test_update_raises_what_to_do_when_its_message_is_refused(answer: Scripted, error: type[AnswerError]) -> None:
    """Alone, a message's failure is the call's."""
    with ScriptedServer([answer]) as server, pytest.raises(AnswerError) as caught:
        client_of(server).update("a", "1")
    assert error is type(caught.value)
    assert 1 == len(server.requests)


def test_updates_tells_both_when_the_log_refuses_some_for_good() -> None:
    """A 502 that names messages is no proxy's: it is not tried again."""
    refusal = problem(502, published=[{"index": 0, "path": "a", "seq": 7}], failed=[{"index": 1, "reason": "refused"}])
    with ScriptedServer([refusal]) as server, pytest.raises(PublishError) as caught:
        client_of(server).updates([("a", "1"), ("a", "2")])
    assert [Published("a", 7)] == caught.value.published
    assert ["2"] == [failure.message.message for failure in caught.value.failures]


def test_updates_is_sent_again_whole_when_some_were_not_stored() -> None:
    """A 503 that names messages passes: those that were stored are known by their ids."""
    log = Log()

    def store_first(request: Request) -> Scripted:
        log.publish(request._replace(body=request.body[:1]))
        return problem(503, headers={"Retry-After": "0"}, failed=[{"index": 1, "retry": True}])

    with ScriptedServer([store_first, log.publish]) as server:
        assert [Published("a", 1), Published("a", 2)] == client_of(server).updates([("a", "1"), ("a", "2")])
    assert ["1", "2"] == log.messages
