"""Who sends a request, and which requests a browser may have been made to send."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import falcon
import pytest
from falcon.testing import Result, TestClient
from prometheus_client import CollectorRegistry
from tests.testkit.deadlines import wait_until

from roots.auth.access import EVERYONE_ANONYMOUS, Access
from roots.auth.authentication import Authenticator
from roots.auth.jwks import JwksKeys
from roots.http import web

from .token_support import make_rules, public_jwk, token, write_keys

HOST = "todo.example"
SAME = {"Sec-Fetch-Site": "same-origin"}


class Whoami:
    """Answers with the subject, to a question and to a change."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with who asks."""
        resp.media = {"subject": self._authenticator.authenticate(req).subject}

    on_post = on_get
    on_delete = on_get


Ask = Callable[..., Result]


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return metrics of the test's own."""
    return CollectorRegistry()


@pytest.fixture
def authenticator(registry: CollectorRegistry) -> Iterator[Authenticator]:
    """Yield what nothing was given to yet."""
    made = Authenticator("test", registry)
    yield made
    made.close()


@pytest.fixture
def access(tmp_path: Path) -> Access:
    """Return who may ask: tokens in the header or a cookie, and pages of one foreign origin."""
    rules = make_rules(tmp_path, keys=write_keys(tmp_path), cookie='"session"')
    return Access(tokens=rules, origins=frozenset({"https://app.example"}))


@pytest.fixture
def ask(authenticator: Authenticator) -> Ask:
    """Return a function that sends a request with these headers."""
    app = web.create_app()
    app.add_route("/", Whoami(authenticator))
    client = TestClient(app)

    def send(method: str = "POST", **headers: str) -> Result:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.simulate_request(method, "/", headers={"Host": HOST, **named})

    return send


def test_everyone_is_anonymous_when_there_are_no_tokens(authenticator: Authenticator, ask: Ask) -> None:
    """Without [tokens] nobody is looked at, also who brings a token for somebody else."""
    authenticator.use(EVERYONE_ANONYMOUS)
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {token()}"}, {"Cookie": "session=x"}):
        assert (200, None) == (ask(**headers).status_code, ask(**headers).json["subject"])


@pytest.mark.parametrize(
    ("headers", "subject"),
    [
        ({}, None),
        ({"Authorization": "Basic YTpi"}, None),
        ({"Authorization": f"Bearer {token()}"}, "ann"),
        ({"Authorization": f"bearer   {token()}  "}, "ann"),
        ({"Cookie": f"session={token()}", **SAME}, "ann"),
        ({"Cookie": f"a=b; session={token()}; c=d", **SAME}, "ann"),
        ({"Cookie": f"other={token()}", **SAME}, None),
        ({"Authorization": "Basic YTpi", "Cookie": f"session={token()}", **SAME}, "ann"),
        ({"Authorization": f"Bearer {token(sub='bob')}", "Cookie": f"session={token()}"}, "bob"),
    ],
)
def test_identity_is_the_tokens_when_there_is_one(
    authenticator: Authenticator, access: Access, ask: Ask, headers: dict[str, str], subject: str | None
) -> None:
    """The header comes before the cookie; another scheme, or another cookie, is for somebody else."""
    authenticator.use(access)
    answer = ask(**headers)
    assert (200, subject) == (answer.status_code, answer.json["subject"])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Authorization": "Bearer"}, "malformed"),
        ({"Authorization": "Bearer "}, "malformed"),
        ({"Authorization": f"Bearer {token()}, Bearer {token()}"}, "malformed"),
        ({"Authorization": f"Bearer {token()} x"}, "malformed"),
        ({"Authorization": f"Bearer {token(exp=1)}"}, "expired"),
        ({"Authorization": f"Bearer {token(exp=1)}", "Cookie": f"session={token()}"}, "expired"),
        ({"Cookie": f"session={token(exp=1)}", **SAME}, "expired"),
        ({"Cookie": "session=", **SAME}, "malformed"),
        ({"Cookie": f"session={token()}; session={token(sub='bob')}", **SAME}, "malformed"),
    ],
)
def test_token_is_refused_with_a_challenge_when_it_is_bad(
    authenticator: Authenticator,
    access: Access,
    registry: CollectorRegistry,
    ask: Ask,
    headers: dict[str, str],
    reason: str,
) -> None:
    """401 with a problem and RFC 6750's challenge; of two cookies none is believed, and each refusal is counted."""
    authenticator.use(access)
    answer = ask(**headers)
    assert (401, "application/problem+json", reason) == (
        answer.status_code,
        answer.headers["content-type"],
        answer.json["reason"],
    )
    challenge = f'Bearer realm="roots", error="invalid_token", error_description="{answer.json["detail"]}"'
    assert challenge == answer.headers["www-authenticate"]
    assert 1 == registry.get_sample_value("roots_test_tokens_total", {"result": reason})


OWN = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://todo.example"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"},
    {"Origin": "https://todo.example"},
    {"Origin": "http://TODO.example"},
    {"Origin": "https://app.example"},
]
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "odd"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://todo.example"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.todo.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "https://todo.example.evil.example"},
    {"Origin": "https://todo.example:8443"},
    {"Origin": "https://app.example:8443"},
    {"Origin": "http://app.example"},
    {"Origin": "ftp://todo.example"},
    {"Origin": "todo.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "https://"},
    {"Origin": "https://["},
]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("site", [*OWN, *FOREIGN], ids=str)
def test_change_is_refused_when_a_foreign_page_asks_for_it(
    authenticator: Authenticator, access: Access, ask: Ask, method: str, site: dict[str, str]
) -> None:
    """A browser adds cookies and reaches into private networks: only pages of ours, or listed ones, change anything."""
    authenticator.use(access)
    expected = 200 if site in OWN else 403
    for who in ({}, {"Cookie": f"session={token()}"}):
        answer = ask(method, **who, **site)
        assert expected == answer.status_code
        assert expected == 200 or answer.json["reason"] == "cross-site"
    # A foreign page has no bearer token, and a question changes nothing.
    assert 200 == ask(method, Authorization=f"Bearer {token()}", **site).status_code
    assert 200 == ask("GET", Cookie=f"session={token()}", **site).status_code


def test_change_needs_a_word_of_the_browser_when_a_cookie_comes(
    authenticator: Authenticator, access: Access, ask: Ask
) -> None:
    """Without a cookie, who says nothing of a page is no browser; with one it can't be told, and is refused."""
    authenticator.use(access)
    assert 200 == ask().status_code
    assert 403 == ask(Cookie=f"session={token()}").status_code
    authenticator.use(EVERYONE_ANONYMOUS)
    assert 200 == ask(Cookie="session=x").status_code
    assert 403 == ask(Origin="https://app.example").status_code


def test_token_can_not_be_told_good_when_the_issuer_is_away(
    authenticator: Authenticator, tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 and when to come again, not a refusal that would sign somebody out; policies with one URL share its keys."""
    published = False

    def fetch(_url: str) -> bytes:
        if not published:
            raise TimeoutError
        return json.dumps({"keys": [public_jwk("EdDSA", "issuers")]}).encode()

    monkeypatch.setattr("roots.auth.jwks.fetch_url", fetch)
    monkeypatch.setattr("roots.auth.jwks.MIN_INTERVAL_SECONDS", 0.05)
    rules = make_rules(tmp_path, jwks='"https://login.example/jwks"')
    authenticator.use(Access(tokens=rules))
    bearer = f"Bearer {token('EdDSA', kid='issuers')}"
    answer = ask(Authorization=bearer)
    assert (503, "1", "application/problem+json") == (
        answer.status_code,
        answer.headers["retry-after"],
        answer.headers["content-type"],
    )
    published = True
    wait_until(lambda: ask(Authorization=bearer).status_code != 503)
    assert (200, "ann") == (ask(Authorization=bearer).status_code, ask(Authorization=bearer).json["subject"])
    kept = authenticator._state.jwks
    assert isinstance(kept, JwksKeys)
    authenticator.use(Access(tokens=make_rules(tmp_path, jwks='"https://login.example/jwks"', audience='"roots"')))
    assert kept is authenticator._state.jwks
    authenticator.use(EVERYONE_ANONYMOUS)
    kept._thread.join(10)
    assert not kept._thread.is_alive()
