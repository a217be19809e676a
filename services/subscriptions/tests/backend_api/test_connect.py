"""`POST /v1/connect` and `GET /v1/revision` of the running service."""

import time
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.testkit.deadlines import wait_until

from roots.contracts.uids import Uids

from ..support import KEY, OTHER_KEY, Nats, Service


def ask(service: Service, method: str, path: str, body: object = None, key: str = KEY) -> urllib3.BaseHTTPResponse:
    """Send a request with a key."""
    return service.backend_api(method, path, body, Authorization=f"Bearer {key}")


def connect(service: Service, uid: str, *paths: str, **members: object) -> urllib3.BaseHTTPResponse:
    """Grant paths as the back end `todos`."""
    return ask(service, "POST", "/v1/connect", {"uid": uid, "paths": paths, **members})


def revision(service: Service) -> str:
    """Return the revision of now."""
    answer = ask(service, "GET", "/v1/revision?subject=ann")
    assert (200, "no-store") == (answer.status, answer.headers["Cache-Control"])
    text: str = answer.json()["revision"]
    return text


def test_paths_are_granted_when_a_back_end_connects_a_client(service: Service, nats: Nats, uid: str) -> None:
    """The record has what the back end said, and the client is explained and revoked by its subject."""
    until = int(time.time()) + 3600
    answer = connect(service, uid, "tasks", "many/1", "tasks", subject=f"s-{uid}", until=until, info={"name": "Änn"})
    assert (200, {"connected": ["tasks", "many/1"], "refused": []}) == (answer.status, answer.json())
    record = nats.stored(uid)
    assert f"s-{uid}" == record["subject"]
    assert [("backends.todos", until, {"name": "Änn"})] * 2 == [
        (grant["by"], grant["until"], grant["info"]) for grant in record["paths"].values()
    ]
    explained = ask(service, "GET", f"/v1/clients/{uid}").json()
    assert (f"s-{uid}", {"name": "Änn"}) == (explained["subject"], explained["hears"][0]["info"])
    revoked = ask(service, "POST", "/v1/revoke", {"subject": f"s-{uid}"})
    assert {"revoked": {"clients": 1, "paths": 2}} == revoked.json()


def test_record_is_as_before_when_nothing_more_is_said(service: Service, nats: Nats, uid: str) -> None:
    """Without subject, info and revision the record has no member that a release before would not know."""
    assert 200 == connect(service, uid, "tasks").status
    record = nats.stored(uid)
    assert {"subject", "n", "expires", "paths", "gone", "said"} == set(record)
    assert {"from", "epoch", "since", "n", "until", "by", "at"} == set(record["paths"]["tasks"])


def test_connect_answers_410_when_the_uid_is_not_of_this_system(service: Service, uids: Uids) -> None:
    """A forged and an expired uid are refused, with and without a revision."""
    for wrong in ("x", "", uids.mint(now=0), uids.mint()[:-1] + "é"):
        for members in ({}, {"if_revision": revision(service), "subject": "ann"}):
            assert 410 == connect(service, wrong, "tasks", **members).status


def test_connect_answers_409_when_the_uid_belongs_to_another(service: Service, nats: Nats, uid: str) -> None:
    """I5: a uid belongs to the first subject that a back end names; nothing is granted to another one."""
    assert 200 == connect(service, uid, "tasks", subject="ann").status
    for members in ({}, {"if_revision": revision(service)}):
        refused = connect(service, uid, "many/1", subject="bob", **members)
        assert (409, "subject", "urn:roots:other-subject") == (
            refused.status,
            refused.json()["reason"],
            refused.json()["type"],
        )
    assert ("ann", {"tasks"}) == (nats.stored(uid)["subject"], set(nats.stored(uid)["paths"]))
    assert 200 == connect(service, uid, "many/1").status


@pytest.mark.parametrize("what", ["subject", "path", "uid", "subject and path", "forgotten"])
def test_connect_answers_409_when_a_revocation_came_after_the_revision(
    service: Service, nats: Nats, uid: str, what: str
) -> None:
    """I5: what was decided before a revocation is not granted after it; what is decided after it is."""
    named: dict[str, Any] = {
        "subject": {"subject": f"s-{uid}"},
        "path": {"path": "many/1"},
        "uid": {"uid": uid},
        "subject and path": {"subject": f"s-{uid}", "path": "many/1"},
    }
    before = revision(service)
    if what == "forgotten":
        assert 200 == ask(service, "DELETE", f"/v1/clients/{uid}").status
    else:
        assert 200 == ask(service, "POST", "/v1/revoke", named[what]).status
    refused = connect(service, uid, "many/1", subject=f"s-{uid}", if_revision=before)
    assert (409, "revision", "urn:roots:revoked-since") == (
        refused.status,
        refused.json()["reason"],
        refused.json()["type"],
    )
    after = revision(service)
    assert after != before
    assert 200 == connect(service, uid, "many/1", subject=f"s-{uid}", if_revision=after).status
    assert "pending" not in nats.stored(uid)


def test_connect_is_granted_when_another_subject_was_revoked(service: Service, uid: str) -> None:
    """A revocation of other names concerns no other grant."""
    before = revision(service)
    ask(service, "POST", "/v1/revoke", {"subject": f"other-{uid}"})
    ask(service, "POST", "/v1/revoke", {"path": "many/other"})
    assert 200 == connect(service, uid, "many/1", subject=f"s-{uid}", if_revision=before).status


def test_revision_counts_everywhere_when_replicas_restart(
    nats: Nats, service: Service, policy_file: Path, tmp_path: Path, uid: str
) -> None:
    """A revocation of one replica refuses the grant at another one, which was killed in between."""
    with Service(nats, tmp_path, ROOTS_POLICY=str(policy_file)) as second:
        wait_until(second.is_ready)
        before = revision(second)
        ask(service, "POST", "/v1/revoke", {"subject": f"s-{uid}"})
        assert 409 == connect(second, uid, "many/1", subject=f"s-{uid}", if_revision=before).status
        second.kill()
        wait_until(second.is_ready)
        assert 409 == connect(second, uid, "many/1", subject=f"s-{uid}", if_revision=before).status
        assert 200 == connect(second, uid, "many/1", subject=f"s-{uid}", if_revision=revision(service)).status


def test_grant_ends_by_itself_when_its_time_has_come(service: Service, nats: Nats, uid: str) -> None:
    """The path is withdrawn by a change of the record; one without an end stays."""
    assert 200 == connect(service, uid, "tasks").status
    assert 200 == connect(service, uid, "many/1", until=time.time() + 1).status
    wait_until(lambda: set(nats.stored(uid)["paths"]) == {"tasks"})
    assert ({"many/1"}, ["many/1"]) == (set(nats.stored(uid)["gone"]), nats.stored(uid)["ended"])


def test_paths_are_left_out_when_the_client_has_no_room(service: Service, uid: str) -> None:
    """Those that fit are granted, and the answer names the others; when none fits, it is 422."""
    full = [f"many/{number}" for number in range(127)]
    assert 200 == connect(service, uid, *full).status
    answer = connect(service, uid, "many/a", "many/b", if_revision=revision(service))
    assert (["many/a"], [{"path": "many/b", "reason": "limit"}]) == (
        answer.json()["connected"],
        answer.json()["refused"],
    )
    none = connect(service, uid, "many/c")
    assert (422, [{"path": "many/c", "reason": "limit"}]) == (none.status, none.json()["refused"])


def test_nothing_is_granted_when_the_key_may_not(service: Service, nats: Nats, uid: str) -> None:
    """I5: one path that the key may not grant refuses the request; without a key nothing is answered."""
    refused = connect(service, uid, "tasks", "users/7")
    assert (403, [{"path": "users/7", "reason": "policy"}]) == (refused.status, refused.json()["refused"])
    assert 403 == ask(service, "POST", "/v1/connect", {"uid": uid, "paths": ["tasks"]}, OTHER_KEY).status
    assert 401 == service.backend_api("POST", "/v1/connect", {"uid": uid, "paths": ["tasks"]}).status
    assert 401 == service.backend_api("GET", "/v1/revision").status
    assert [] == ask(service, "GET", f"/v1/clients/{uid}").json()["hears"]


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"paths": []}, "paths"),
        ({"paths": ["a//b"]}, "paths[0]"),
        ({"paths": ["tasks", "::connect"]}, "paths[1]"),
        ({"paths": "tasks"}, "paths"),
        ({"subject": ""}, "subject"),
        ({"subject": "s" * 513}, "subject"),
        ({"until": 1}, "until"),
        ({"until": 1e300}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"info": "x" * 511}, "info"),
        ({"if_revision": "7"}, "if_revision"),
        ({"if_revision": "1-²"}, "if_revision"),
        ({"if_revision": "1" * 5000 + "-1"}, "if_revision"),
        ({"more": 1}, "body"),
    ],
)
def test_connect_answers_422_when_a_member_is_wrong(
    service: Service, uid: str, members: dict[str, object], field: str
) -> None:
    """The answer names the member, and nothing is granted."""
    answer = ask(service, "POST", "/v1/connect", {"uid": uid, "paths": ["tasks"], **members})
    assert (422, field) == (answer.status, answer.json()["field"])
    assert [] == ask(service, "GET", f"/v1/clients/{uid}").json()["hears"]


def test_connect_answers_409_when_the_revision_is_of_another_bucket(service: Service, uid: str) -> None:
    """A revision that this bucket never had says nothing of what was revoked in it."""
    epoch, _, seq = revision(service).partition("-")
    for unknown in (f"{int(epoch) - 1}-{seq}", f"{epoch}-{int(seq) + 1_000_000}"):
        assert 409 == connect(service, uid, "tasks", if_revision=unknown).status
    assert 422 == ask(service, "GET", f"/v1/revision?subject={'s' * 513}").status
