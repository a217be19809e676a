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
        updates=(), uid=b"u", position_text=b"/1.1.", grants_text=b"1", gaps=[('"', "expired")], retry_ms=1500
    )
    expected = {"updates": [], "reconnectWith": "u/1.1.1", "gaps": [{"path": '"', "reason": "expired"}], "retry": 1500}
    assert expected == json.loads(body)
    assert list(expected) == list(json.loads(body))


def test_full_gives_back_the_own_cursor_when_it_is_given_with_the_uid() -> None:
    """The client stays where it is; a wait of no time is said too."""
    body = responses.full(updates=(), uid=b"u/1.2.3", position_text=b"", grants_text=b"", retry_ms=0)
    assert {"updates": [], "reconnectWith": "u/1.2.3", "retry": 0} == json.loads(body)
