"""A grant record that can't be read: it grants nothing, and can be overwritten and removed."""

import json

import pytest
from tests.testkit.deadlines import wait_until

from roots.contracts.uids import Uids

from ..support import KEY, Nats, Service

RECORDS = {
    "blank": b" ",
    "no JSON": b"x",
    "no UTF-8": b"\xff",
    "an array": b"[]",
    "deep": b"[" * 60_000,
    "2^63": b'{"n":9223372036854775808,"paths":{},"expires":1}',
    "5,000 digits": b'{"n":' + b"9" * 5000 + b',"paths":{},"expires":1}',
    "another grammar": b'{"n":1,"paths":{"a b":{"from":0,"epoch":1,"since":1,"n":1}},"expires":4000000000}',
    "wrong types": b'{"n":1,"paths":{},"expires":"tomorrow"}',
    "no members": b"{}",
}
each = pytest.mark.parametrize("raw", RECORDS.values(), ids=RECORDS.keys())


@each
def test_connect_overwrites_what_is_no_record(nats: Nats, service: Service, uid: str, raw: bytes) -> None:
    """I3: the new record counts from above every number that the one before can have had."""
    seq = nats.put_raw(uid, raw)
    answer = service.connect(uid, "tasks")
    assert (200, ["tasks"]) == (answer.status, answer.json()["connected"])
    stored = nats.stored(uid)
    assert ["tasks"] == list(stored["paths"])
    assert stored["n"] > seq


@each
@pytest.mark.parametrize("how", ["uid", "uid and path", "disconnect"])
def test_revocation_removes_what_is_no_record(nats: Nats, service: Service, uid: str, raw: bytes, how: str) -> None:
    """I5: whoever takes everything from a uid is not kept from it by what is stored there."""
    nats.put_raw(uid, raw)
    if how == "uid":
        answer = service.backend_api("DELETE", f"/v1/clients/{uid}", Authorization=f"Bearer {KEY}")
    elif how == "uid and path":
        target = {"uid": uid, "path": "tasks"}
        answer = service.backend_api("POST", "/v1/revoke", target, Authorization=f"Bearer {KEY}")
    else:
        answer = service.disconnect(uid, "tasks")
    assert 200 == answer.status, answer.data
    message = nats.message(uid)
    assert (b"", "DEL") == (message.data or b"", message.headers["KV-Operation"])


@each
def test_explanation_has_nothing_when_the_record_is_none(nats: Nats, service: Service, uid: str, raw: bytes) -> None:
    """The client hears nothing, which is what the back-end API says of one without a record."""
    nats.put_raw(uid, raw)
    answer = service.backend_api("GET", f"/v1/clients/{uid}", Authorization=f"Bearer {KEY}")
    assert (200, []) == (answer.status, answer.json()["hears"])


def test_index_goes_on_when_it_meets_what_is_no_record(nats: Nats, service: Service, uids: Uids) -> None:
    """I5: a revocation finds what comes after; each unreadable record is counted and logged once."""
    before = service.metric("roots_subscriptions_unreadable_records_total")
    for raw in RECORDS.values():
        nats.put_raw(uids.mint(), raw)
    uid = uids.mint()
    assert 200 == service.connect(uid, "many/9").status
    answer = service.backend_api("POST", "/v1/revoke", {"path": "many/9"}, Authorization=f"Bearer {KEY}")
    assert {"revoked": {"clients": 1, "paths": 1}} == answer.json()
    wait_until(lambda: service.metric("roots_subscriptions_unreadable_records_total") == before + len(RECORDS))
    lines = [json.loads(line) for line in service.log_file.read_text().splitlines()]
    revisions = [line["revision"] for line in lines if line["event"] == "record_unreadable"]
    assert len(revisions) == len(set(revisions))
