"""Two running replicas with a policy of tokens: who hears what, until when, and what a changed policy does to it."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jwt
import pytest
import urllib3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.testkit.deadlines import clock, wait_until

from roots.contracts.uids import Uids

from ..support import Nats, Service

SECRET = b"a secret for tests, of 32 bytes or more"
KEY = Ed25519PrivateKey.generate()
MAX_CLIENTS = 4
# From a change of the file until no live grant is older than it.
MAX_CHANGE_SECONDS = 5.0
TOKENS = f"""
[tokens]
audience = "roots"
issuer = "https://login.example"
cookie = "token"
max_clients = {MAX_CLIENTS}
keys = [
  {{ kid = "secret", alg = "HS256", secret_file = "keys/secret" }},
  {{ kid = "public", alg = "EdDSA", public_key_file = "keys/public.pem" }},
]
"""
RULES = """
[apps.tasks]
allow = [
  { paths = ["tasks"], who = "anyone" },
  { paths = ["users/{sub}/**"], who = "signed-in" },
  { paths = ["teams/{claims.team}/*"], who = "signed-in", scopes = ["teams"] },
  { paths = ["**"], roles = ["admin"] },
]
"""


def token(kid: str = "secret", **others: object) -> str:
    """Return a good token with `others` in its claims."""
    now = int(time.time())
    claims: dict[str, Any] = {"sub": "ann", "aud": "roots", "iss": "https://login.example", "exp": now + 3600, **others}
    if kid == "secret":
        return jwt.encode(claims, SECRET, "HS256", headers={"kid": kid})
    return jwt.encode(claims, KEY, "EdDSA", headers={"kid": kid})


class Folder:
    """A policy's folder that changes as a mounted ConfigMap does: by one symbolic link."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        (path / "keys").mkdir()
        (path / "keys" / "secret").write_bytes(SECRET)
        pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (path / "keys" / "public.pem").write_bytes(pem)
        (path / "policy.toml").symlink_to("..data/policy.toml")
        (path / "..data").symlink_to("none")
        self.publish(TOKENS + RULES)

    @property
    def file(self) -> Path:
        """The policy's file."""
        return self._path / "policy.toml"

    def publish(self, text: str) -> None:
        """Have `text` in the file from one moment to the next."""
        self._count += 1
        data = self._path / f"..{self._count}"
        data.mkdir()
        (data / "policy.toml").write_text(text)
        link = self._path / "..data_tmp"
        link.symlink_to(data.name)
        link.rename(self._path / "..data")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a folder with the policy and its keys."""
    path = tmp_path / "policy"
    path.mkdir()
    return Folder(path)


@pytest.fixture
def replicas(own_nats: Nats, folder: Folder, tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """Yield two ready replicas with the policy of `folder`, on a nats-server of their own."""
    own_nats.loop.run(own_nats.server.start())
    own_nats.loop.run(own_nats.server.provision())
    with ExitStack() as stack:
        started = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            service = Service(own_nats, tmp_path / name, ROOTS_POLICY=str(folder.file))
            started.append(stack.enter_context(service))
        for service in started:
            wait_until(service.is_ready)
        yield started[0], started[1]


def connect(service: Service, uid: str, *paths: str, bearer: str | None = None) -> urllib3.BaseHTTPResponse:
    """POST /tasks/connect/{uid} with a token."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    return service.request("POST", f"/tasks/connect/{uid}", json.dumps(paths).encode(), **headers)


def disconnect(service: Service, uid: str, *paths: str, bearer: str | None = None) -> urllib3.BaseHTTPResponse:
    """POST /tasks/disconnect/{uid} with a token."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    return service.request("POST", f"/tasks/disconnect/{uid}", json.dumps(paths).encode(), **headers)


def held(nats: Nats, uid: str) -> set[str]:
    """Return what the stored record of `uid` grants."""
    return set(nats.stored(uid)["paths"])


def wait_for_metric(service: Service, name: str, value: float) -> None:
    """Return once the metric has this value."""
    wait_until(lambda: service.metric(name) == value)


def test_users_hear_their_own_paths_when_their_tokens_have_other_algorithms(
    replicas: tuple[Service, Service], own_nats: Nats, uids: Uids
) -> None:
    """I5: each subject is granted its own paths, until its token ends, and no other's; any replica answers the same."""
    one, two = replicas
    for service, sub, kid in ((one, "ann", "secret"), (two, "bob", "public")):
        uid, until = uids.mint(), int(time.time()) + 100
        good = token(kid, sub=sub, exp=until, team="red", scope="teams")
        asked = ["tasks", "users/ann/inbox", "users/bob/inbox", "users/ann", "teams/red/1", "teams/blue/1", "secrets"]
        answer = connect(service, uid, *asked, bearer=good)
        own = {"tasks", f"users/{sub}/inbox", "teams/red/1"} | ({"users/ann"} if sub == "ann" else set())
        assert (200, own) == (answer.status, set(answer.json()["connected"]))
        assert set(asked) - own == {refused["path"] for refused in answer.json()["refused"]}
        record = own_nats.stored(uid)
        assert (sub, dict.fromkeys(own, until)) == (
            record["subject"],
            {path: grant["until"] for path, grant in record["paths"].items()},
        )


def test_grant_lives_on_when_the_token_is_renewed(replicas: tuple[Service, Service], own_nats: Nats, uid: str) -> None:
    """A renewed token extends what the client holds with the next connect, at any replica, and keeps its start."""
    one, two = replicas
    first = int(time.time()) + 100
    connect(one, uid, "users/ann/inbox", bearer=token(exp=first))
    since = own_nats.stored(uid)["paths"]["users/ann/inbox"]["since"]
    connect(two, uid, "tasks", bearer=token(exp=first + 900))
    grant = own_nats.stored(uid)["paths"]["users/ann/inbox"]
    assert (first + 900, since) == (grant["until"], grant["since"])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda: token(exp=1), "expired"),
        (lambda: token(nbf=int(time.time()) + 900), "not_yet"),
        (lambda: token(aud="other"), "audience"),
        (lambda: token(iss="https://evil.example"), "issuer"),
        (lambda: token("public")[:-8] + "AAAAAAAA", "signature"),
        (lambda: jwt.encode({"sub": "ann"}, "", "none", headers={"kid": "secret"}), "algorithm"),
        (lambda: jwt.encode({"sub": "ann"}, SECRET, "HS256", headers={"kid": "other"}), "key"),
        (lambda: jwt.encode({"sub": "ann"}, SECRET, "HS256", headers={"kid": "public"}), "algorithm"),
        (lambda: "x" * 9000, "oversize"),
        (lambda: "garbage", "malformed"),
        (lambda: "", "malformed"),
    ],
)
def test_connect_answers_401_when_the_token_is_bad(service_of_tokens: Service, uid: str, bad: Any, reason: str) -> None:
    """I5, I10: a bad token grants nothing, not even what anyone may hear; why is told and counted, the token not."""
    text = bad()
    counted = f'roots_subscriptions_tokens_total{{result="{reason}"}}'
    before = service_of_tokens.metric(counted)
    for answer in (
        connect(service_of_tokens, uid, "tasks", bearer=text),
        disconnect(service_of_tokens, uid, "tasks", bearer=text),
    ):
        assert (401, "application/problem+json") == (answer.status, answer.headers["Content-Type"])
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="roots", error="invalid_token"')
        assert reason == answer.json()["reason"]
    assert before + 2 == service_of_tokens.metric(counted)
    log = service_of_tokens.log_file.read_text()
    assert not text or text not in log
    assert uid not in log


@pytest.fixture(scope="module")
def service_of_tokens(nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Yield one replica whose grants no test looks at."""
    path = tmp_path_factory.mktemp("tokens")
    folder = Folder(path)
    with Service(nats, path, ROOTS_POLICY=str(folder.file)) as running:
        wait_until(running.is_ready)
        yield running


def test_checks_come_in_order_when_everything_is_wrong(service_of_tokens: Service, uid: str) -> None:
    """The app comes first, then the token, the uid, the body, the policy."""
    bad = {"Authorization": "Bearer x"}
    statuses = [
        service_of_tokens.request("POST", "/unknown/connect/x", b"no", **bad).status,
        service_of_tokens.request("POST", "/tasks/connect/x", b"no", **bad).status,
        service_of_tokens.request("POST", "/tasks/connect/x", b"no").status,
        service_of_tokens.request("POST", f"/tasks/connect/{uid}", b"no").status,
        service_of_tokens.request("POST", f"/tasks/connect/{uid}", b'["secrets"]').status,
    ]
    assert [404, 401, 410, 400, 403] == statuses


def test_uid_is_refused_when_it_belongs_to_somebody_else(service_of_tokens: Service, uid: str) -> None:
    """I5: a stolen uid is of no use without its owner's token, neither to hear more nor to take away."""
    assert 200 == connect(service_of_tokens, uid, "tasks", bearer=token(sub=f"ann-{uid}")).status
    for bearer in (None, token(sub="bob"), token("public", sub="bob")):
        for answer in (
            connect(service_of_tokens, uid, "tasks", bearer=bearer),
            disconnect(service_of_tokens, uid, "tasks", bearer=bearer),
        ):
            assert (403, "identity") == (answer.status, answer.json()["reason"])


def test_subject_is_refused_when_it_has_too_many_clients(service_of_tokens: Service, uids: Uids, uid: str) -> None:
    """I7: one more client than the policy says is told so; the ones before go on."""
    mine = [uids.mint() for _ in range(MAX_CLIENTS)]
    bearer = token(sub=f"many-{uid}")
    assert {200} == {connect(service_of_tokens, each, "tasks", bearer=bearer).status for each in mine}
    answer = connect(service_of_tokens, uid, "tasks", bearer=bearer)
    assert (429, "application/problem+json") == (answer.status, answer.headers["Content-Type"])
    assert f"at most {MAX_CLIENTS} clients" in answer.json()["detail"]
    assert 200 == connect(service_of_tokens, mine[0], "tasks", bearer=bearer).status


def test_cookie_connects_when_the_page_is_of_the_same_origin(service_of_tokens: Service, uid: str) -> None:
    """A cookie is a token too, but a browser adds it to what foreign pages ask; then it grants nothing."""
    cookie = {"Cookie": f"other=1; token={token(sub=f'ann-{uid}')}"}
    path = f"/tasks/connect/{uid}"
    for site in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
        answer = service_of_tokens.request("POST", path, b'["tasks"]', **cookie, **site)
        assert (403, "cross-site") == (answer.status, answer.json()["reason"])
    own = f'["users/ann-{uid}/1"]'.encode()
    assert 200 == service_of_tokens.request("POST", path, own, **cookie, **{"Sec-Fetch-Site": "same-origin"}).status


def test_live_grants_follow_when_the_policy_changes(
    replicas: tuple[Service, Service], folder: Folder, own_nats: Nats, uids: Uids
) -> None:
    """I5: within 5 s no replica grants what the file forbids, and no live grant has it; what is allowed stays."""
    one, two = replicas
    ann, anyone = uids.mint(), uids.mint()
    bearer = token(team="red", scope="teams")
    connect(one, ann, "tasks", "users/ann/inbox", "teams/red/1", bearer=bearer)
    connect(two, anyone, "tasks")
    folder.publish(TOKENS + RULES.replace('["tasks"]', '["news"]').replace('["teams"]', '["other"]'))
    changed = clock()
    wait_until(lambda: held(own_nats, anyone) == set() and held(own_nats, ann) == {"users/ann/inbox"})
    wait_until(lambda: {connect(service, anyone, "tasks").status for service in replicas} == {403})
    assert clock() - changed < MAX_CHANGE_SECONDS
    assert {"tasks", "teams/red/1"} == set(own_nats.stored(ann)["gone"])


def test_policy_is_kept_when_the_new_file_is_wrong(
    replicas: tuple[Service, Service], folder: Folder, own_nats: Nats, uids: Uids
) -> None:
    """A mistake in the file changes nothing but the log, a metric and what /readyz says, until it is mended."""
    one, two = replicas
    first, second = uids.mint(), uids.mint()
    connect(one, first, "tasks")
    folder.publish(TOKENS + RULES.replace("who", "whom", 1))
    for service in replicas:
        wait_for_metric(service, "roots_subscriptions_policy_file_invalid", 1)
        assert 200 == connect(service, second, "tasks").status
        assert "line 14, apps.tasks.allow[0].whom" in service.checks()["policy"]["detail"]
        assert service.is_ready()
        assert '"line": 14' in service.log_file.read_text()
    assert {"tasks"} == held(own_nats, first)
    folder.publish(TOKENS + RULES)
    wait_for_metric(two, "roots_subscriptions_policy_file_invalid", 0)
    assert 1 == two.metric('roots_subscriptions_policy_reads_total{result="refused"}')


def test_tokens_of_a_new_key_are_good_when_its_file_has_changed(
    replicas: tuple[Service, Service], folder: Folder, uid: str
) -> None:
    """A key's file is watched as the policy's is: the old key's tokens end with it."""
    one, _ = replicas
    new = b"another secret, of 32 bytes or more"
    bearer = jwt.encode(
        jwt.decode(token(), options={"verify_signature": False}), new, "HS256", headers={"kid": "secret"}
    )
    assert 401 == connect(one, uid, "tasks", bearer=bearer).status
    (folder.file.parent / "keys" / "secret").write_bytes(new)
    wait_until(lambda: connect(one, uid, "tasks", bearer=bearer).status == 200)
    assert 401 == connect(one, uid, "tasks", bearer=token()).status


def test_policy_is_read_when_the_service_is_hung_up(replicas: tuple[Service, Service], uid: str) -> None:
    """SIGHUP reads the file at once, changed or not, and stops nothing."""
    one, _ = replicas
    applied = 'roots_subscriptions_policy_reads_total{result="applied"}'
    for count in (1, 2):
        os.kill(one._process.pid, signal.SIGHUP)
        wait_for_metric(one, applied, count)
    assert 200 == connect(one, uid, "tasks").status


def test_policy_is_applied_to_what_is_live_when_it_changed_while_no_replica_ran(
    replicas: tuple[Service, Service], folder: Folder, own_nats: Nats, uid: str
) -> None:
    """I5: a policy that changed between a power cut and the start withdraws what it allows no more."""
    one, two = replicas
    connect(two, uid, "tasks")
    for service in replicas:
        service._process.send_signal(signal.SIGSTOP)
    folder.publish(TOKENS + RULES.replace('["tasks"]', '["news"]'))
    assert {"tasks"} == held(own_nats, uid)
    two._process.send_signal(signal.SIGKILL)
    one.kill()
    wait_until(lambda: held(own_nats, uid) == set())
    two.kill()
