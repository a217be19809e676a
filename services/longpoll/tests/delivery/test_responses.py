"""The bodies of answers."""

import json

from roots_longpoll.delivery import responses

UPDATE = b'{"path":"a","message":"1"}'


def test_full_leaves_out_gaps_and_retry_when_there_are_none() -> None:
    """Most answers have two members."""
    body = responses.full(
        updates=[UPDATE, UPDATE], uid=b"uid", position_text=responses.position(b"z", 37), grants_text=b"3"
    )
    expected = {"updates": [{"path": "a", "message": "1"}] * 2, "reconnectWith": "uid/z.11.3"}
    assert expected == json.loads(body)


def test_full_names_gaps_and_retry_when_there_are_some() -> None:
    """Both stand in the order of the protocol."""
    body = responses.full(
        updates=(), uid=b"u", position_text=b"/1.1.", grants_text=b"1", gaps=[('"', "overflow")], retry_ms=1500
    )
    expected = {"updates": [], "reconnectWith": "u/1.1.1", "gaps": [{"path": '"', "reason": "overflow"}], "retry": 1500}
    assert expected == json.loads(body)
    assert list(expected) == list(json.loads(body))


def test_empty_gives_back_the_own_cursor_when_nothing_was_considered() -> None:
    """The client stays where it is."""
    assert {"updates": [], "reconnectWith": "u/1.2.3"} == json.loads(responses.empty(b"u/1.2.3"))
    assert 0 == json.loads(responses.empty(b"u/1.2.3", 0))["retry"]
