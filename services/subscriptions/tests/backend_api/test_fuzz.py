"""Whatever is sent to the back-end API, it answers with what the protocol has for it, and goes on."""

import json
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.testkit.examples import drawn

from ..support import KEY, Service

REFUSALS = {400, 401, 403, 404, 405, 410, 413, 422, 429}
FUZZ = settings(max_examples=drawn(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.sampled_from(["path", "message", "id", "uid", "subject", "", "Path"])
TEXTS = st.one_of(
    st.sampled_from(
        [
            "tasks",
            "batch/1",
            "tutorial/1",
            "::connect",
            "::disconnect",
            "::+::disconnect",
            "x->tutorial/1",
            "->",
            "..",
            ">",
        ]
    ),
    st.text(max_size=40),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
ITEMS = st.dictionaries(NAMES, VALUES, max_size=3)
BODIES = st.one_of(
    st.binary(max_size=60),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.lists(ITEMS, max_size=4).map(lambda items: json.dumps(items).encode()),
)


@FUZZ
@given(body=BODIES)
def test_publish_answers_as_documented_when_the_body_is_anything(service: Service, body: bytes) -> None:
    """No body is a failure of the service's."""
    answer = service.backend_api("POST", "/v1/publish", body, Authorization=f"Bearer {KEY}")
    assert answer.status == 200 or answer.status in REFUSALS, (body, answer.data)
    assert "json" in answer.headers["Content-Type"]


@FUZZ
@given(body=BODIES, has_key=st.booleans())
def test_form_of_2009_answers_as_documented_when_the_body_is_anything(
    *, service: Service, body: bytes, has_key: bool
) -> None:
    """There are two answers, and one of them is it."""
    headers = {"Authorization": f"Bearer {KEY}"} if has_key else {}
    answer = service.backend_api("POST", "/", body, **headers)
    assert answer.status == 200 or answer.status in REFUSALS, (body, answer.data)
    assert answer.data in {b"{success:true}", b"{error:true}"}
    assert answer.status == 200 or answer.data == b"{error:true}"


@FUZZ
@given(body=BODIES)
def test_revoke_answers_as_documented_when_the_body_is_anything(service: Service, body: bytes) -> None:
    """Nothing that is no revocation withdraws or fails."""
    answer = service.backend_api("POST", "/v1/revoke", body, Authorization=f"Bearer {KEY}")
    assert answer.status == 200 or answer.status in REFUSALS, (body, answer.data)


@FUZZ
@given(uid=st.text(max_size=60), path=st.text(max_size=30), method=st.sampled_from(["GET", "DELETE", "POST", "PATCH"]))
def test_client_answers_as_documented_when_the_uid_is_anything(
    service: Service, uid: str, path: str, method: str
) -> None:
    """What is no uid is refused, however it is written."""
    target = f"/v1/clients/{quote(uid, safe='')}?path={quote(path, safe='')}"
    answer = service.backend_api(method, target, Authorization=f"Bearer {KEY}")
    assert answer.status in REFUSALS, (uid, answer.data)


@FUZZ
@given(key=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60))
def test_key_is_refused_when_it_is_anything_else(service: Service, key: str) -> None:
    """No text but a key opens the back-end API."""
    answer = service.backend_api("POST", "/v1/publish", b"[]", Authorization=f"Bearer {key}")
    assert answer.status in {400, 401}, key
