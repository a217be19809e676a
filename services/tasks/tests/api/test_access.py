"""Who may read tasks and who may change them, by the policy file."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from falcon.testing import Result, TestClient
from prometheus_client import CollectorRegistry
from tests.testkit.deadlines import wait_until

from roots.auth.authentication import Authenticator
from roots.auth.policy_file import PolicyError
from roots_tasks.api.app import create_app
from roots_tasks.api.policy import AuthMiddleware, parse_task_policy
from roots_tasks.metrics import ServeMetrics
from roots_tasks.storage.store import Store

from ..support import Command

SECRET = b"a secret for tests, of 32 bytes or more"
TOKENS = """
[tokens]
audience = "roots"
cookie = "token"
keys = [{ kid = "k", alg = "HS256", secret_file = "secret" }]
"""
TASK = {"description": "milk"}

MakeClient = Callable[[str], TestClient]


def token(**others: object) -> str:
    """Return a good token with `others` in its claims."""
    claims: dict[str, Any] = {"sub": "ann", "aud": "roots", "exp": int(time.time()) + 3600, **others}
    return jwt.encode(claims, SECRET, "HS256", headers={"kid": "k"})


def bearer(**others: object) -> dict[str, str]:
    """Return the header with a good token."""
    return {"Authorization": f"Bearer {token(**others)}"}


@pytest.fixture
def make_client(store: Store, tmp_path: Path) -> MakeClient:
    """Return a function that makes a client of the API under a policy."""
    (tmp_path / "secret").write_bytes(SECRET)

    def make(text: str) -> TestClient:
        registry = CollectorRegistry()
        policy = parse_task_policy(text, tmp_path)
        authenticator = Authenticator("tasks", registry)
        authenticator.use(policy.access)
        return TestClient(
            create_app(store, AuthMiddleware(lambda: policy, authenticator), ServeMetrics(registry), registry)
        )

    return make


def statuses(client: TestClient, headers: dict[str, str] | None = None) -> tuple[int, ...]:
    """Return the statuses of reading all, making one, reading it, changing it twice and deleting it."""
    made = client.simulate_post("/tasks", json=TASK, headers=headers)
    url = made.headers.get("location", "/task/1")
    answers: list[Result] = [
        client.simulate_get("/tasks", headers=headers),
        made,
        client.simulate_get(url, headers=headers),
        client.simulate_put(url, json=TASK, headers=headers),
        client.simulate_patch(url, json=TASK, headers=headers),
        client.simulate_delete(url, headers=headers),
    ]
    return tuple(answer.status_code for answer in answers)


ALL = (200, 201, 200, 200, 200, 204)
NONE = (401,) * 6
READ = (200, 401, 404, 401, 401, 401)


@pytest.mark.parametrize(
    ("text", "anonymous", "ann", "editor"),
    [
        ("", ALL, ALL, ALL),
        ("[apps.tasks]\nallow = []", ALL, ALL, ALL),
        ("[apps.other]\nallow = []\nwrite = 'anyone'", ALL, ALL, ALL),
        ("[backends.b]\nkey_file = 'not-here'", ALL, ALL, ALL),
        (TOKENS, NONE, ALL, ALL),
        (f"{TOKENS}[apps.tasks]\nallow = []\nread = 'anyone'\nwrite = 'anyone'", ALL, ALL, ALL),
        (f"{TOKENS}[apps.tasks]\nallow = []\nread = 'anyone'\nwrite = 'signed-in'", READ, ALL, ALL),
        (f"{TOKENS}[apps.tasks]\nallow = []\nread = 'anyone'", READ, ALL, ALL),
        (
            f"{TOKENS}[apps.tasks]\nallow = []\nread = 'anyone'\nwrite = {{ roles = ['editor'] }}",
            READ,
            (200, 403, 404, 403, 403, 403),
            ALL,
        ),
        (
            f"{TOKENS}[apps.tasks]\nallow = []\nread.scopes = ['tasks']\nwrite.scopes = ['tasks', 'edit']",
            NONE,
            (403,) * 6,
            ALL,
        ),
    ],
)
def test_tasks_are_guarded_as_the_policy_says_when_it_names_who(
    make_client: MakeClient, text: str, anonymous: tuple[int, ...], ann: tuple[int, ...], editor: tuple[int, ...]
) -> None:
    """Reading and changing have an audience each; by default anyone, or who is signed in where there are tokens."""
    client = make_client(text)
    assert anonymous == statuses(client)
    assert ann == statuses(client, bearer())
    assert editor == statuses(client, bearer(roles=["editor"], scope="edit tasks"))


def test_refusal_says_what_to_do_when_there_is_no_token_or_too_little(make_client: MakeClient) -> None:
    """RFC 6750: a challenge without an error when no token came, and the scopes when they are missing."""
    client = make_client(f"{TOKENS}[apps.tasks]\nallow = []\nwrite = {{ scopes = ['edit', 'all'] }}")
    anonymous = client.simulate_post("/tasks", json=TASK)
    assert (401, 'Bearer realm="roots"') == (anonymous.status_code, anonymous.headers["www-authenticate"])
    assert "application/problem+json" == anonymous.headers["content-type"]
    lacking = client.simulate_post("/tasks", json=TASK, headers=bearer(scope="all"))
    assert 403 == lacking.status_code
    assert 'Bearer realm="roots", error="insufficient_scope", scope="all edit"' == lacking.headers["www-authenticate"]
    assert "needs the scope edit" in lacking.json["detail"]


def test_bad_token_is_refused_when_no_token_would_do(make_client: MakeClient) -> None:
    """Whoever sends a token means somebody: a wrong one is told so, even where anyone may come."""
    client = make_client(f"{TOKENS}[apps.tasks]\nallow = []\nread = 'anyone'")
    answer = client.simulate_get("/tasks", headers=bearer(exp=1))
    assert (401, "expired") == (answer.status_code, answer.json["reason"])
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_change_is_refused_when_a_foreign_page_asks_with_the_cookie(make_client: MakeClient) -> None:
    """A browser adds the cookie to whatever page asks; a change has to come from a page of ours."""
    client = make_client(TOKENS)
    cookie = {"Cookie": f"token={token()}", "Host": "todo.example"}
    for own in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "https://todo.example"}):
        assert 201 == client.simulate_post("/tasks", json=TASK, headers={**cookie, **own}).status_code
    for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
        answer = client.simulate_post("/tasks", json=TASK, headers={**cookie, **foreign})
        assert (403, "cross-site") == (answer.status_code, answer.json["reason"])
    assert 200 == client.simulate_get("/tasks", headers={**cookie, "Sec-Fetch-Site": "cross-site"}).status_code


PAGE = "https://app.example"
ORIGINS = f"origins = ['{PAGE}']\n"


def cors_of(answer: Result) -> dict[str, str]:
    """Return the headers that are for pages of other origins."""
    prefix = "access-control-"
    return {name.removeprefix(prefix): value for name, value in answer.headers.items() if name.startswith(prefix)}


def test_preflight_is_answered_when_the_policy_names_the_origin(make_client: MakeClient) -> None:
    """A listed page may send its token, and what makes a change safe to repeat and to lose no other's."""
    client = make_client(ORIGINS + TOKENS)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "if-match"}
    answer = client.simulate_options("/task/1", headers=asked)
    told = cors_of(answer)
    assert (200, PAGE, "true", "7200") == (
        answer.status_code,
        told["allow-origin"],
        told["allow-credentials"],
        told["max-age"],
    )
    assert {"GET", "HEAD", "PUT", "PATCH", "DELETE"} <= set(told["allow-methods"].split(", "))
    wanted = {"authorization", "content-type", "if-match", "if-none-match", "idempotency-key", "traceparent"}
    assert wanted <= set(told["allow-headers"].lower().split(", "))
    assert "Origin" == answer.headers["vary"]


def test_answers_can_be_read_when_the_policy_names_the_origin(make_client: MakeClient) -> None:
    """Every answer, a refusal too, can be read by a listed page, with the headers that it needs."""
    client = make_client(ORIGINS + TOKENS)
    page = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
    good = {**page, **bearer()}
    answers = [
        client.simulate_post("/tasks", json=TASK, headers=good),
        client.simulate_get("/tasks", headers=good),
        client.simulate_get("/tasks", headers={**good, "If-None-Match": "*"}),
        client.simulate_get("/tasks", headers=page),
        client.simulate_get("/task/999", headers=good),
        client.simulate_get("/nothing", headers=good),
        client.simulate_put("/tasks", headers=good),
        client.simulate_post("/tasks", body="{", headers=good),
    ]
    assert [201, 200, 304, 401, 404, 404, 405, 400] == [answer.status_code for answer in answers]
    exposed = "ETag, Link, Location, Retry-After, WWW-Authenticate"
    expected = {"allow-origin": PAGE, "allow-credentials": "true", "expose-headers": exposed}
    assert [expected] * len(answers) == [cors_of(answer) for answer in answers]
    assert {"Origin"} == {answer.headers["vary"] for answer in answers}


@pytest.mark.parametrize("origin", ["https://app.example.evil", "http://app.example", f"{PAGE}:8443", "null", ""])
def test_pages_are_told_nothing_when_their_origin_is_not_listed(make_client: MakeClient, origin: str) -> None:
    """The origin counts as a whole; caches keep the answers apart."""
    client = make_client(ORIGINS)
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for answer in (client.simulate_options("/tasks", headers=asked), client.simulate_get("/tasks", headers=asked)):
        assert ({}, "Origin") == (cors_of(answer), answer.headers["vary"])


def test_no_cookie_is_asked_for_when_the_policy_has_none(make_client: MakeClient) -> None:
    """Credentials are allowed only where a cookie can be one; without origins nothing is said at all."""
    answer = make_client(ORIGINS).simulate_get("/tasks", headers={"Origin": PAGE})
    assert {"allow-origin", "expose-headers"} == cors_of(answer).keys()
    answer = make_client("").simulate_get("/tasks", headers={"Origin": PAGE})
    assert ({}, None) == (cors_of(answer), answer.headers.get("vary"))


def test_question_is_answered_when_no_token_comes_with_it(make_client: MakeClient) -> None:
    """OPTIONS changes nothing and tells nothing; what there is not, is not there for anyone."""
    client = make_client(TOKENS)
    assert 200 == client.simulate_options("/tasks").status_code
    assert 404 == client.simulate_get("/nothing").status_code


def test_key_is_the_senders_own_when_another_uses_it_too(make_client: MakeClient) -> None:
    """Bob's request under Ann's key makes Bob's task, and so does nobody's; each retry gets its sender's answer."""
    client = make_client(f"{TOKENS}[apps.tasks]\nallow = []\nwrite = 'anyone'")
    senders: list[dict[str, str]] = [bearer(), bearer(sub="bob"), bearer(sub="ANN"), {}]
    answers = [
        client.simulate_post("/tasks", json=TASK, headers={"Idempotency-Key": "k", **sender})
        for _ in range(2)
        for sender in senders
    ]
    assert [201] * 8 == [answer.status_code for answer in answers]
    assert len(senders) == len({answer.text for answer in answers})
    assert [answer.text for answer in answers[:4]] == [answer.text for answer in answers[4:]]
    other = client.simulate_post("/tasks", json={"description": "x"}, headers={"Idempotency-Key": "k", **bearer()})
    assert (422, "Idempotency-Key") == (other.status_code, other.json["field"])


def test_key_is_the_subjects_when_header_and_cookie_carry_its_tokens(make_client: MakeClient) -> None:
    """A renewed token, or one in the cookie, is of the same subject, and so is its key."""
    client = make_client(TOKENS)
    key = {"Idempotency-Key": "k"}
    first = client.simulate_post("/tasks", json=TASK, headers={**key, **bearer()})
    cookie = {"Cookie": f"token={token(jti='renewed')}", "Sec-Fetch-Site": "same-origin"}
    assert first.text == client.simulate_post("/tasks", json=TASK, headers={**key, **cookie}).text


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ("apps = 1", "apps", 1),
        ("[apps]\ntasks = 1", "apps.tasks", 2),
        ("[apps.tasks]\nallow = []\nwrite = 'signed-in'", "apps.tasks.write", 3),
        ("[apps.tasks]\nallow = []\nread = 'all'", "apps.tasks.read.who", 3),
        (f"{TOKENS}[apps.tasks]\nallow = []\nread = {{ role = 'x' }}", "apps.tasks.read.role", 8),
        # What only subscriptions needs is refused here, too: or the two would follow different policies.
        ("[apps.tasks]\nwrite = 'anyone'", "apps.tasks", 1),
        ("[apps.other]\nallow = []\nwrite = 'signed-in'", "apps.other.write", 3),
        ("[app.tasks]\nallow = []", "app", 1),
        ("[apps.tasks]\nallow = [{ paths = ['a*'], who = 'anyone' }]", "apps.tasks.allow[0].paths[0]", 2),
        ("[backends.b]\nkey_file = 'x'\ngrants = []", "backends.b.grants", 3),
        ("[apps]\nallow = [", "", 2),
        ("\n[tokens]\naudience = 'roots'", "tokens", 2),
        ("origins = ['https://a.example/']", "origins[0]", 1),
        ("origins = 'https://a.example'", "origins", 1),
    ],
)
def test_policy_names_the_line_when_it_is_wrong(tmp_path: Path, text: str, place: str, line: int) -> None:
    """What the task API reads of the file is checked as strictly as subscriptions checks the rest."""
    (tmp_path / "secret").write_bytes(SECRET)
    with pytest.raises(PolicyError) as caught:
        parse_task_policy(text, tmp_path)
    assert (place, line) == (caught.value.place, caught.value.line)


def test_serve_follows_the_policy_when_it_changes(database_url: str, tmp_path: Path) -> None:
    """The running service takes in a changed file, keeps the old policy when it is wrong, and says so."""
    file = tmp_path / "policy.toml"
    file.write_text("[apps.tasks]\nallow = []")
    (tmp_path / "secret").write_bytes(SECRET)
    with Command("serve", tmp_path, ROOTS_DATABASE_URL=database_url, ROOTS_POLICY=str(file)) as serve:
        wait_until(serve.is_ready)
        assert 200 == serve.request("GET", "/tasks").status
        file.write_text(TOKENS)
        wait_until(lambda: serve.request("GET", "/tasks").status == 401)
        assert 200 == serve.request("GET", "/tasks", **bearer()).status
        file.write_text("[tokens]")
        wait_until(lambda: serve.metric("roots_tasks_policy_file_invalid") == 1)
        assert 200 == serve.request("GET", "/tasks", **bearer()).status
        is_ok, detail = serve.check("policy")
        assert is_ok
        assert "line 1, tokens" in detail
        file.write_text(f"{TOKENS}[apps.tasks]\nallow = []\n[backends.b]\nkey_file = 'elsewhere'\ngrants = []")
        wait_until(lambda: "line 10, backends.b.grants" in serve.check("policy")[1])
        applied = serve.log().count('"policy_applied"')
        file.write_text(f"{TOKENS}[apps.tasks]\nallow = []\n[backends.b]\nkey_file = 'elsewhere'")
        wait_until(lambda: serve.log().count('"policy_applied"') == applied + 1)
        assert token() not in serve.log()


def test_answer_names_who_asks_without_their_subject_when_there_is_one(make_client: MakeClient) -> None:
    """The name is the same for each token of a subject, another for each subject, on refusals too."""
    client = make_client(f'{TOKENS}\n[apps.tasks]\nallow = []\nread = "signed-in"\nwrite = "signed-in"')
    names = [
        client.simulate_head("/tasks", headers=headers).headers["roots-identity"]
        for headers in ({}, bearer(), bearer(jti="2"), bearer(sub="bert"))
    ]
    assert (names[0], names[1] == names[2], names[1] == names[3]) == ("none", True, False)
    assert "ann" not in names[1]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_request_is_refused_when_it_is_from_another_than_is_signed_in(make_client: MakeClient, method: str) -> None:
    """What a page has kept for one user is not done as the next one's."""
    client = make_client(f'{TOKENS}\n[apps.tasks]\nallow = []\nread = "anyone"\nwrite = "anyone"')
    ann = client.simulate_head("/tasks", headers=bearer()).headers["roots-identity"]
    own = {"Roots-Identity": ann, **bearer()}
    assert client.simulate_request(method, "/tasks", json=TASK, headers=own).status_code in {200, 201}
    for signed_in in ({}, bearer(sub="bert")):
        answer = client.simulate_request(method, "/tasks", json=TASK, headers={"Roots-Identity": ann, **signed_in})
        assert (answer.status_code, answer.json["reason"]) == (403, "identity")
    assert len(client.simulate_get("/tasks").json["content"]) == (1 if method == "POST" else 0)
