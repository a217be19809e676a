"""`/v1/clients/{uid}` and `/v1/revoke` of the running service."""

import json
from pathlib import Path
from typing import Any

import pytest
import urllib3
from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.testkit.deadlines import wait_until

from roots.contracts.subjects import CLIENTS_HELD
from roots.contracts.uids import Uids
from roots.nats import broker

from ..support import KEY, OTHER_KEY, Nats, Service


def ask(service: Service, method: str, path: str, body: object = None, key: str = KEY) -> urllib3.BaseHTTPResponse:
    """Send a request with a key."""
    return service.backend_api(method, path, body, Authorization=f"Bearer {key}")


def explained(service: Service, uid: str, query: str = "", key: str = KEY) -> Any:
    """Return what the back-end API explains of `uid`."""
    answer = ask(service, "GET", f"/v1/clients/{uid}{query}", key=key)
    assert (200, "no-store") == (answer.status, answer.headers["Cache-Control"])
    return answer.json()


def test_client_is_explained_when_it_is_asked_for(service: Service, nats: Nats, uid: str) -> None:
    """What it hears by which app since when, and what it was refused by which rule; no replica of longpoll is there."""
    malformed = service.log_file.read_text().count("answer_malformed")
    service.connect(uid, "tasks", "users/7", "many/1")
    answer = explained(service, uid)
    record = nats.stored(uid)
    assert [("tasks", "apps.tasks"), ("many/1", "apps.tasks")] == [
        (grant["path"], grant["by"]) for grant in answer["hears"]
    ]
    assert [record["paths"]["tasks"]["from"]] * 2 == [grant["from"] for grant in answer["hears"]]
    # The key of `todos` has nothing to do with users/7.
    assert [] == answer["refused"]
    service.connect(uid, "batch/1")
    assert [("tasks", "batch/1", None)] == [
        (refusal["app"], refusal["path"], refusal["rule"]) for refusal in explained(service, uid)["refused"]
    ]
    assert ([], 0) == (answer["held"], answer["replicas"])
    assert malformed == service.log_file.read_text().count("answer_malformed")


def test_replicas_are_told_when_they_hold_the_client(service: Service, nats: Nats, uid: str) -> None:
    """Every replica of longpoll is asked; those that hold a poll are named, and one that talks rubbish is not heard."""

    async def stand_in(answer: bytes) -> Client:
        async def respond(message: Msg) -> None:
            await message.respond(answer if message.data == uid.encode() else b"")

        client = await broker.connect(nats.config("longpoll"))
        await client.subscribe(CLIENTS_HELD, cb=respond)
        await client.flush()
        return client

    answers = (b'{"replica":"one:8008","held":2.5}', b'{"replica":"two:8008"}', b'{"replica":7}', b"\xff")
    clients = [nats.loop.run(stand_in(answer)) for answer in answers]
    try:
        answer = explained(service, uid)
    finally:
        for client in clients:
            nats.loop.run(client.close())
    assert ([{"replica": "one:8008", "seconds": 2.5}], 2) == (answer["held"], answer["replicas"])


def test_refusal_of_another_replica_is_told_when_there_are_two(
    service: Service, nats: Nats, policy_file: Path, tmp_path: Path, uid: str
) -> None:
    """Whichever replica refused a path, the back-end API of each explains it."""
    with Service(nats, tmp_path, ROOTS_POLICY=str(policy_file)) as second:
        wait_until(second.is_ready)
        assert 403 == second.connect(uid, "batch/1").status
        assert ["batch/1"] == [refusal["path"] for refusal in explained(service, uid)["refused"]]


def test_why_not_is_answered_when_a_path_is_asked_for(service: Service, uid: str) -> None:
    """One sentence says why the client does not hear the path."""
    service.connect(uid, "tasks")
    heard, unheard = (explained(service, uid, f"?path={path}")["path"] for path in ("tasks", "many/7"))
    assert (True, "apps.tasks granted it") == (heard["heard"], heard["why"])
    assert (False, "the policy allows it; the client has not connected it, or has disconnected it") == (
        unheard["heard"],
        unheard["why"],
    )
    refused = explained(service, uid, "?path=batch/1")["path"]
    assert (False, "no app allows it") == (refused["heard"], refused["why"])


def test_clients_are_explained_together_when_their_uids_are_given(service: Service, uids: Uids) -> None:
    """Each as by itself, in the order of the request; one that has ended is null."""
    connected, unknown = uids.mint(), uids.mint()
    service.connect(connected, "tasks")
    asked = [connected, uids.mint(now=0), unknown, "x", connected]
    answer = ask(service, "POST", "/v1/explain", {"uids": asked, "path": "tasks"})
    assert (200, "no-store") == (answer.status, answer.headers["Cache-Control"])
    each = [explained(service, uid, "?path=tasks") for uid in (connected, unknown)]
    assert [each[0], None, each[1], None, each[0]] == answer.json()["clients"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"uids": []}, 422),
        ({"uids": ["x"] * 101}, 422),
        ({"uids": "x"}, 422),
        ({}, 422),
        ([], 422),
        ({"uids": ["x"], "path": "a//b"}, 422),
        ({"uids": ["x"], "path": "users/7"}, 403),
        (b"x", 400),
    ],
)
def test_explanation_is_refused_when_the_question_is_wrong(service: Service, body: object, status: int) -> None:
    """I7: at most a hundred clients, for a path that the key may see."""
    assert status == ask(service, "POST", "/v1/explain", body).status
    assert 401 == service.backend_api("POST", "/v1/explain", {"uids": ["x"]}).status


@pytest.mark.parametrize(
    ("query", "status"),
    [("?path=", 422), ("?path=a//b", 422), ("?path=%3A%3Aconnect", 422), ("?path=users/7", 403)],
)
def test_path_is_refused_when_it_is_none_or_not_the_keys(service: Service, uid: str, query: str, status: int) -> None:
    """A key explains what it may publish on or grant, and nothing but paths."""
    assert status == ask(service, "GET", f"/v1/clients/{uid}{query}").status


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_uid_is_refused_when_it_is_not_of_this_system(service: Service, uids: Uids, method: str) -> None:
    """A forged or an expired uid is told from one that was granted nothing."""
    for wrong in ("x", uids.mint(now=0), "%00", "a.b", "*", "%3E"):
        assert 410 == ask(service, method, f"/v1/clients/{wrong}").status
    assert 200 == ask(service, method, f"/v1/clients/{uids.mint()}").status


def test_nothing_is_withdrawn_or_told_when_there_is_no_key(service: Service, nats: Nats, uid: str) -> None:
    """I5: the keyless back end of 2009 is for its own form alone."""
    service.connect(uid, "tasks")
    for method, path in (("GET", f"/v1/clients/{uid}"), ("DELETE", f"/v1/clients/{uid}"), ("POST", "/v1/revoke")):
        assert 401 == service.backend_api(method, path, {"uid": uid} if method == "POST" else None).status
    assert {"tasks"} == set(nats.stored(uid)["paths"])


def test_client_loses_what_the_key_may_grant_when_it_is_deleted(service: Service, nats: Nats, uid: str) -> None:
    """I5: all of it at once, and again is no mistake; what other back ends may grant stays."""
    service.connect(uid, "tasks", "many/1")
    assert {"revoked": {"clients": 0, "paths": 0}} == ask(service, "DELETE", f"/v1/clients/{uid}", key=OTHER_KEY).json()
    assert {"tasks", "many/1"} == set(nats.stored(uid)["paths"])
    assert {"revoked": {"clients": 1, "paths": 2}} == ask(service, "DELETE", f"/v1/clients/{uid}").json()
    assert ({}, {"tasks", "many/1"}) == (nats.stored(uid)["paths"], set(nats.stored(uid)["gone"]))
    assert {"revoked": {"clients": 0, "paths": 0}} == ask(service, "DELETE", f"/v1/clients/{uid}").json()


def test_path_is_withdrawn_from_everyone_when_it_is_revoked(service: Service, nats: Nats, uids: Uids) -> None:
    """I5: by path alone, from all clients; with a uid, from that one."""
    first, second = uids.mint(), uids.mint()
    for uid in (first, second):
        service.connect(uid, "tasks", "many/revoked")
    assert {"revoked": {"clients": 1, "paths": 1}} == ask(
        service, "POST", "/v1/revoke", {"uid": first, "path": "tasks"}
    ).json()
    assert {"revoked": {"clients": 2, "paths": 2}} == ask(
        service, "POST", "/v1/revoke", {"path": "many/revoked"}
    ).json()
    assert [set(), {"tasks"}] == [set(nats.stored(uid)["paths"]) for uid in (first, second)]


def test_subjects_clients_lose_all_when_it_is_revoked(service: Service, nats: Nats, uid: str) -> None:
    """I5: whoever a token has named is found by that name."""
    service.connect(uid, "tasks")
    nats.put_raw(uid, json.dumps({**nats.stored(uid), "subject": f"ann-{uid}"}).encode())
    assert {"revoked": {"clients": 0, "paths": 0}} == ask(service, "POST", "/v1/revoke", {"subject": "ann"}).json()
    answer = ask(service, "POST", "/v1/revoke", {"subject": f"ann-{uid}"})
    assert {"revoked": {"clients": 1, "paths": 1}} == answer.json()
    assert {} == nats.stored(uid)["paths"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        ([], 422),
        ({}, 422),
        ({"uid": None}, 422),
        ({"uid": 7}, 422),
        ({"subject": ""}, 422),
        ({"subject": "x" * 513}, 422),
        ({"path": "a/*"}, 422),
        ({"path": "tasks", "all": True}, 422),
        ({"subject": "ann", "uid": "x"}, 422),
        ({"uid": "x"}, 410),
        ({"path": "users/7"}, 403),
    ],
)
def test_revocation_is_refused_when_it_names_nothing_or_too_much(service: Service, body: object, status: int) -> None:
    """Bad input gets a clear answer, and withdraws nothing."""
    answer = ask(service, "POST", "/v1/revoke", body)
    assert (status, "application/problem+json") == (answer.status, answer.headers["Content-Type"])


def test_audit_names_the_client_by_a_fingerprint_when_it_is_explained_or_revoked(service: Service, uid: str) -> None:
    """I10: the same client has the same fingerprint in each line, and its uid is in none."""
    service.connect(uid, "tasks")
    before = len(service.audit_lines())
    explained(service, uid, "?path=tasks")
    ask(service, "DELETE", f"/v1/clients/{uid}")
    ask(service, "POST", "/v1/revoke", {"subject": "nobody-in-particular"})
    lines = service.audit_lines()[before:]
    assert [("explain", "tasks", None), ("revoke", None, 1), ("revoke", None, 0)] == [
        (line["action"], line.get("path"), line.get("count")) for line in lines
    ]
    assert lines[0]["client"] == lines[1]["client"]
    assert "nobody-in-particular" == lines[2]["subject"]
    assert uid not in service.log_file.read_text()


def test_audit_has_no_path_when_what_came_is_none(service: Service, uid: str) -> None:
    """I10: what stands in the place of a path by mistake may be anything, a token too, and of any length."""
    before = len(service.audit_lines())
    mistake = f"eyJ{uid}{uid}"
    assert 422 == ask(service, "GET", f"/v1/clients/{uid}?path={mistake}").status
    assert 422 == ask(service, "POST", "/v1/revoke", {"path": mistake}).status
    assert 403 == ask(service, "POST", "/v1/revoke", {"path": "users/7"}).status
    lines = service.audit_lines()[before:]
    assert [("malformed", None), ("malformed", None), ("forbidden", "users/7")] == [
        (line["outcome"], line.get("path")) for line in lines
    ]
    assert mistake not in service.log_file.read_text()
