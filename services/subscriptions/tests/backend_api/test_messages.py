"""What `POST /v1/publish` takes: each item is checked, and those that are wrong are named."""

from typing import Any

import falcon
import falcon.testing
import pytest

from roots.http.web import Problem
from roots.tracing.traceparent import traceparent_of
from roots_subscriptions.backend_api.messages import Message, check_count, check_messages, event_of

GOOD = {"path": "tasks", "message": "{}", "id": "1"}
LARGEST = "ü" * 32_768


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ("tasks", None),
        (None, None),
        ({"message": ""}, None),
        ({"path": "tasks"}, None),
        ({**GOOD, "ID": "1"}, None),
        ({**GOOD, "path": 1}, "path"),
        ({**GOOD, "path": ""}, "path"),
        ({**GOOD, "path": "a//b"}, "path"),
        ({**GOOD, "path": "a/*"}, "path"),
        ({**GOOD, "path": "a.>"}, "path"),
        ({**GOOD, "path": "::+::disconnect"}, "path"),
        ({**GOOD, "path": "t\u0430sks"}, "path"),
        ({**GOOD, "message": {}}, "message"),
        ({**GOOD, "message": ""}, "message"),
        ({**GOOD, "message": None}, "message"),
        ({**GOOD, "message": LARGEST + "x"}, "message"),
        ({**GOOD, "message": "\ud800"}, "message"),
        ({**GOOD, "id": ""}, "id"),
        ({**GOOD, "id": 1}, "id"),
        ({**GOOD, "id": "a b"}, "id"),
        ({**GOOD, "id": "a\r\nNats-Expected-Stream: X"}, "id"),
        ({**GOOD, "id": "x" * 129}, "id"),
        ({**GOOD, "id": "\u00fc"}, "id"),
    ],
)
def test_item_is_named_when_it_is_wrong(item: Any, field: str | None) -> None:
    """A back end is told which of its messages is wrong, and where."""
    with pytest.raises(Problem) as caught:
        check_messages([GOOD, item, GOOD])
    assert 422 == caught.value.status_code
    errors: Any = caught.value.members["errors"]
    assert [(1, field)] == [(error["index"], error["field"]) for error in errors]
    assert "[1]" + (f".{field}" if field else "") == caught.value.members["field"]


def test_every_item_is_named_when_several_are_wrong() -> None:
    """One answer tells of all, so that mending them takes one try."""
    with pytest.raises(Problem) as caught:
        check_messages([{}, GOOD, {**GOOD, "path": "/"}])
    errors: Any = caught.value.members["errors"]
    assert [0, 2] == [error["index"] for error in errors]


def test_second_use_of_an_id_is_wrong_when_the_messages_differ() -> None:
    """A message that would be dropped as a repeat, though it is none, is refused; a true repeat is taken."""
    with pytest.raises(Problem) as caught:
        check_messages([GOOD, {**GOOD, "message": "other"}])
    assert "[1].id" == caught.value.members["field"]
    assert 2 == len(check_messages([GOOD, GOOD]))


def test_largest_message_is_taken_when_it_has_64_kib_of_utf8() -> None:
    """The bound is in bytes, not characters."""
    assert LARGEST == check_messages([{**GOOD, "message": LARGEST}])[0].message


def test_message_has_an_id_of_its_own_when_it_came_without() -> None:
    """Two equal messages are two events, unless their sender says that they are one."""
    first, second = check_messages([{"path": "a", "message": "x"}] * 2)
    assert first.id != second.id


@pytest.mark.parametrize("count", [0, 1001])
def test_batch_is_refused_when_it_is_empty_or_too_long(count: int) -> None:
    """I7: a batch has 1 to 1,000 messages."""
    with pytest.raises(Problem):
        check_count([GOOD] * count)
    check_count([GOOD] * 1000)


def test_event_id_has_its_back_ends_name_when_two_use_one_id() -> None:
    """A back end can't suppress an event of another, or of the relay, by guessing its id."""
    message = Message(path="a", message="", id="1")
    assert ("todos:1", "news:1") == (
        event_of(message, "todos", None).event_id,
        event_of(message, "news", None).event_id,
    )


@pytest.mark.parametrize(
    ("header", "is_taken"),
    [
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", True),
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\nX: y", False),
        ("rubbish", False),
    ],
)
def test_traceparent_is_taken_when_it_has_its_form(*, header: str, is_taken: bool) -> None:
    """A trace goes on behind the log; what is none is left out."""
    req = falcon.testing.create_req(headers={"traceparent": header})
    assert (header if is_taken else None) == traceparent_of(req)
