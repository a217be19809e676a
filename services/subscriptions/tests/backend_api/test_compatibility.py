"""`POST /` of the running service, as the client of 2009 sends it: urllib2 with a form's content type."""

import json
import socket
from typing import Any

import pytest
from tests.testkit.deadlines import stretched

from roots.contracts.uids import Uids

from ..support import KEY, Nats, Service

FORM = "application/x-www-form-urlencoded"


def post(service: Service, items: Any, **headers: str) -> tuple[int, str]:
    """Send what Cornelius of 2009 sends, and return the status and the answer."""
    body = items if isinstance(items, bytes) else json.dumps(items).encode()
    headers = {"Content-Type": FORM, "Accept-Encoding": "identity", "User-Agent": "Python-urllib/2.7", **headers}
    answer = service.backend_api("POST", "/", body, **headers)
    assert "text/html" in answer.headers["Content-Type"]
    return answer.status, answer.data.decode()


# What Python 2.7 writes to its socket, whose libraries Cornelius used.
URLLIB2 = (
    "POST / HTTP/1.1\r\nAccept-Encoding: identity\r\nContent-Length: {length}\r\nHost: 127.0.0.1:8004\r\n"
    f"Content-Type: {FORM}\r\nConnection: close\r\nUser-Agent: Python-urllib/2.7\r\n\r\n"
)
URLLIB = (
    f"POST / HTTP/1.0\r\nContent-Type: {FORM}\r\nContent-Length: {{length}}\r\nHost: 127.0.0.1:8004\r\n"
    "User-Agent: Python-urllib/1.17\r\nAccept: */*\r\n\r\n"
)
SUCCESS = (200, "{success:true}")
ERROR = (200, "{error:true}")


def test_updates_are_events_when_posted_without_a_key(service: Service, nats: Nats) -> None:
    """The client of 2009 publishes unmodified, in order, where the policy lets it."""
    end = nats.events_end()
    updates = [{"path": f"tutorial/{n}", "message": f"é{n}"} for n in range(3)]
    assert SUCCESS == post(service, updates)
    assert [(f"roots.events.tutorial.{n}", f"é{n}".encode()) for n in range(3)] == [
        (event.subject, event.data) for event in nats.events_after(end)
    ]


@pytest.mark.parametrize("head", [URLLIB2, URLLIB], ids=["urllib2", "urllib"])
@pytest.mark.parametrize(("path", "answer"), [("tutorial/1", b"{success:true}"), ("tutorial/*", b"{error:true}")])
def test_answer_is_exactly_that_of_2009_when_python_2_asks(
    service: Service, nats: Nats, head: str, path: str, answer: bytes
) -> None:
    """Byte by byte, in HTTP/1.0 too, where the answer ends with the connection."""
    end = nats.events_end()
    body = json.dumps([{"path": path, "message": "\u00e9"}]).encode()
    with socket.create_connection(("127.0.0.1", service.backend_api_port), timeout=stretched(10)) as connection:
        for byte in head.format(length=len(body)).encode() + body:
            connection.sendall(bytes([byte]))
        told, _, text = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert (b"200 OK", answer) == (told.split(b"\r\n")[0].partition(b" ")[2], text)
    assert b"content-length: %d" % len(answer) in told.lower().split(b"\r\n")
    published = ["é".encode()] if answer == b"{success:true}" else []
    assert published == [event.data for event in nats.events_after(end)]


def test_client_hears_when_it_is_connected_as_in_2009(service: Service, nats: Nats, uid: str) -> None:
    """`::connect` grants from the present on, and `::disconnect` withdraws."""
    connect = [{"path": "::connect", "message": f"{uid}->tutorial/{n}"} for n in range(3)]
    assert SUCCESS == post(service, connect)
    record = nats.stored(uid)
    assert {"tutorial/0", "tutorial/1", "tutorial/2"} == set(record["paths"])
    # One change tells the client of all three.
    assert {record["n"]} == {grant["n"] for grant in record["paths"].values()}

    assert SUCCESS == post(service, [{"path": "::disconnect", "message": f"{uid}->tutorial/1"}])
    assert {"tutorial/0", "tutorial/2"} == set(nats.stored(uid)["paths"])
    assert ["tutorial/1"] == list(nats.stored(uid)["gone"])


def test_steps_are_taken_in_order_when_they_are_mixed(service: Service, nats: Nats, uid: str) -> None:
    """I1: what follows a connect in one request is heard, what precedes it is not."""
    end = nats.events_end()
    steps = [
        {"path": "tutorial/1", "message": "before"},
        {"path": "::connect", "message": f"{uid}->tutorial/1"},
        {"path": "tutorial/1", "message": "after"},
    ]
    assert SUCCESS == post(service, steps)
    assert end + 1 == nats.stored(uid)["paths"]["tutorial/1"]["from"]
    assert [b"before", b"after"] == [event.data for event in nats.events_after(end)]


def test_key_counts_when_one_is_sent(service: Service, nats: Nats, uid: str) -> None:
    """A client that has a key has its own rights; one with a wrong key is not taken for one without."""
    key = {"Authorization": f"Bearer {KEY}"}
    assert SUCCESS == post(service, [{"path": "::connect", "message": f"{uid}->tasks"}], **key)
    assert {"tasks"} == set(nats.stored(uid)["paths"])
    assert (403, "{error:true}") == post(service, [{"path": "tutorial/1", "message": "x"}], **key)
    wrong = {"Authorization": "Bearer wrong-key-of-some-length"}
    assert (401, "{error:true}") == post(service, [{"path": "tutorial/1", "message": "x"}], **wrong)


def test_nothing_is_done_when_one_step_is_forbidden(service: Service, nats: Nats, uid: str) -> None:
    """I5: without a key, only what the policy names; a request with more than that does nothing at all."""
    end = nats.events_end()
    for forbidden in ({"path": "tasks", "message": "x"}, {"path": "::connect", "message": f"{uid}->tasks"}):
        steps = [{"path": "tutorial/1", "message": "x"}, forbidden]
        assert (403, "{error:true}") == post(service, steps)
    assert end == nats.events_end()


@pytest.mark.parametrize(
    "items",
    [
        b"",
        b"{",
        b"\xff",
        {"path": "tutorial/1", "message": "x"},
        "text",
        None,
        [1],
        ["tutorial/1"],
        [{"path": "tutorial/1", "message": 1}],
        [{"path": "tutorial/1", "message": ""}],
        [{"path": ["tutorial/1"], "message": "x"}],
        [{"path": "tutorial/*", "message": "x"}],
        [{"path": "::gone", "message": "x"}],
        [{"path": "::+::disconnect", "message": "tutorial/1"}],
        [{"path": "::connect", "message": "tutorial/1"}],
        [{"path": "::connect", "message": 7}],
        [{"path": "::connect", "message": "a->b->c"}],
        [{"path": "::connect", "message": "->"}],
        [{"path": "tutorial/1", "message": "x" * 65_537}],
        [{"path": "tutorial/1", "message": "x"}] * 1001,
    ],
)
def test_answer_is_an_error_and_nothing_is_done_when_the_body_is_wrong(
    service: Service, nats: Nats, items: object
) -> None:
    """What the server of 2009 could not read it answered with 200 and `{error:true}`."""
    end = nats.events_end()
    assert ERROR == post(service, items)
    assert end == nats.events_end()


def test_item_is_passed_over_when_it_says_nothing(service: Service, nats: Nats) -> None:
    """As in 2009, an item without a path or a message is no mistake, and other members don't matter."""
    end = nats.events_end()
    items = [{"path": "tutorial/1"}, {"message": "x"}, {}, {"path": "tutorial/1", "message": "y", "more": 1}]
    assert SUCCESS == post(service, items)
    assert SUCCESS == post(service, [])
    assert [b"y"] == [event.data for event in nats.events_after(end)]


def test_command_is_passed_over_when_its_client_has_gone(service: Service, uids: Uids) -> None:
    """As in 2009: the client begins again by itself, and its application need not know."""
    for gone in ("DOLORES-SERVER-x-1", "", uids.mint(now=0), ">"):
        assert SUCCESS == post(service, [{"path": "::connect", "message": f"{gone}->tutorial/1"}])


def test_too_many_paths_are_an_error_when_connected(service: Service, uid: str) -> None:
    """I7: a client hears 128 paths at most, however it is connected."""
    connect = [{"path": "::connect", "message": f"{uid}->tutorial/{n}"} for n in range(129)]
    assert ERROR == post(service, connect)
    assert SUCCESS == post(service, connect[:128])
    assert ERROR == post(service, connect[128:])


def test_rest_is_obeyed_when_a_client_has_no_room_for_a_path(service: Service, nats: Nats, uid: str) -> None:
    """I7: 128 of 129 paths are granted, the message behind them is published, and the audit names the one left out."""
    seq = nats.events_end()
    steps = [{"path": "::connect", "message": f"{uid}->tutorial/{n}"} for n in range(129)]
    assert ERROR == post(service, [*steps, {"path": "tutorial/1", "message": "published"}])
    assert {f"tutorial/{n}" for n in range(128)} == nats.stored(uid)["paths"].keys()
    assert [b"published"] == [event.data for event in nats.events_after(seq)]
    outcomes = {
        line["path"]: line["outcome"]
        for line in service.audit_lines()
        if line.get("path") in ("tutorial/127", "tutorial/128")
    }
    assert {"tutorial/127": "connected", "tutorial/128": "too-many"} == outcomes


def test_audit_has_no_uid_when_a_client_is_connected(service: Service, uid: str) -> None:
    """I10: the line has the path and the back end without a key, and the uid is nowhere."""
    post(service, [{"path": "::connect", "message": f"{uid}->tutorial/audit"}])
    line = service.audit_lines()[-1]
    assert ("tutorial", "tutorial", "tutorial/audit", "connected") == (
        line["backend"],
        line["action"],
        line["path"],
        line["outcome"],
    )
    assert uid not in service.log_file.read_text()
