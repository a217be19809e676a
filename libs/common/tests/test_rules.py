"""Who may hear which path: a table of the policy's decisions, and properties that hold for any policy and any token."""

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from roots.auth.patterns import Placeholder, parse_pattern
from roots.auth.policy import Decision, Policy, parse_policy
from roots.contracts.identity import ANONYMOUS, Identity, is_segment
from roots.contracts.subjects import is_path

DOCUMENT = Path(__file__).parents[3] / "docs" / "operations.md"
RULES = """
[tokens]
audience = "roots"
keys = [{ kid = "k", alg = "HS256", secret_file = "secret" }]

[apps.t]
allow = [
  { paths = ["tasks", "news/*"], who = "anyone" },
  { paths = ["users/{sub}/**", "mail/{sub}"], who = "signed-in" },
  { paths = ["teams/{claims.team}/*"], who = "signed-in", scopes = ["teams"] },
  { paths = ["floors/{claims.floor}/{sub}"], scopes = ["floors", "teams"] },
  { paths = ["admin/**"], roles = ["admin", "root"] },
  { paths = ["vault/**"], roles = ["root"], scopes = ["vault"] },
  { paths = ["**/{claims.team}/board"], who = "signed-in" },
]

[apps.closed]
allow = []
"""
ANN = Identity(subject="ann", claims={"sub": "ann", "team": "red"}, expires=1)
BOB = Identity(
    subject="bob", claims={"sub": "bob", "team": "blue", "floor": "7"}, scopes=frozenset({"teams"}), expires=1
)
EVE = Identity(
    subject="e/../ann", claims={"team": "*"}, scopes=frozenset({"teams"}), roles=frozenset({"adm"}), expires=1
)
SUE = Identity(
    subject="sue",
    claims={"sub": "sue", "floor": "7"},
    scopes=frozenset({"teams", "floors", "vault"}),
    roles=frozenset({"root"}),
    expires=1,
)
HAL = Identity(subject="hal", claims={"sub": "hal"}, hear=("own/*", "deep/**", "bad*", "users/ann/x"), expires=1)

TASKS, USERS, TEAMS, FLOORS, ADMIN, VAULT, BOARD = (f"apps.t.allow[{index}]" for index in range(7))
HEAR = "the token's roots.hear"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """Return the policy of the table."""
    folder = tmp_path_factory.mktemp("policy")
    (folder / "secret").write_bytes(b"s" * 32)
    return parse_policy(RULES, folder)


@pytest.mark.parametrize(
    ("who", "path", "is_allowed", "rule"),
    [
        # who is anonymous
        (ANONYMOUS, "tasks", True, TASKS),
        (ANONYMOUS, "news/1", True, TASKS),
        (ANONYMOUS, "tasks/1", False, None),
        (ANONYMOUS, "news", False, None),
        (ANONYMOUS, "news/1/2", False, None),
        (ANONYMOUS, "Tasks", False, None),
        (ANONYMOUS, "users/ann/inbox", False, USERS),
        (ANONYMOUS, "users", False, None),
        (ANONYMOUS, "mail/ann", False, USERS),
        (ANONYMOUS, "teams/red/1", False, TEAMS),
        (ANONYMOUS, "admin", False, ADMIN),
        (ANONYMOUS, "admin/x/y", False, ADMIN),
        (ANONYMOUS, "vault/x", False, VAULT),
        (ANONYMOUS, "a/red/board", False, BOARD),
        (ANONYMOUS, "unknown", False, None),
        # what is signed in hears what anyone hears
        (ANN, "tasks", True, TASKS),
        (SUE, "news/x", True, TASKS),
        # the subject's own
        (ANN, "users/ann", True, USERS),
        (ANN, "users/ann/inbox", True, USERS),
        (ANN, "users/ann/a/b/c", True, USERS),
        (ANN, "mail/ann", True, USERS),
        (ANN, "mail/ann/1", False, None),
        (ANN, "users/bob", False, USERS),
        (ANN, "users/bob/inbox", False, USERS),
        (ANN, "users/Ann/inbox", False, USERS),
        (ANN, "users/ann.x/inbox", False, USERS),
        (ANN, "users/ann/../bob", True, USERS),
        (ANN, "users/*/inbox", False, None),
        (ANN, "users/{sub}/inbox", False, None),
        (ANN, "users//inbox", False, None),
        (ANN, "users/%61nn/inbox", False, None),
        (ANN, "users", False, None),
        (BOB, "users/bob/inbox", True, USERS),
        (BOB, "users/ann/inbox", False, USERS),
        # claims and scopes
        (ANN, "teams/red/1", False, TEAMS),
        (BOB, "teams/blue/1", True, TEAMS),
        (BOB, "teams/red/1", False, TEAMS),
        (BOB, "teams/blue", False, None),
        (BOB, "teams/blue/1/2", False, None),
        (SUE, "teams/red/1", False, TEAMS),
        (BOB, "floors/7/bob", False, FLOORS),
        (SUE, "floors/7/sue", True, FLOORS),
        (SUE, "floors/7/bob", False, FLOORS),
        (SUE, "floors/8/sue", False, FLOORS),
        # a subject and a claim that are no segments match nothing, and are never read as patterns or paths
        (EVE, "users/ann/inbox", False, USERS),
        (EVE, "users/e/../ann", False, USERS),
        (EVE, "users/e", False, USERS),
        (EVE, "mail/ann", False, USERS),
        (EVE, "teams/red/1", False, TEAMS),
        (EVE, "teams/*/1", False, None),
        (EVE, "tasks", True, TASKS),
        # roles: one of them, and all scopes besides
        (ANN, "admin/x", False, ADMIN),
        (EVE, "admin/x", False, ADMIN),
        (SUE, "admin", True, ADMIN),
        (SUE, "admin/x/y", True, ADMIN),
        (SUE, "vault/x", True, VAULT),
        (BOB, "vault/x", False, VAULT),
        # a placeholder behind any number of segments
        (ANN, "red/board", True, BOARD),
        (ANN, "a/b/red/board", True, BOARD),
        (ANN, "red/red/board", True, BOARD),
        (ANN, "a/blue/board", False, BOARD),
        (ANN, "board", False, None),
        (BOB, "a/blue/board", True, BOARD),
        # what the issuer grants by itself
        (HAL, "own/1", True, HEAR),
        (HAL, "own/1/2", False, None),
        (HAL, "deep", True, HEAR),
        (HAL, "deep/1/2", True, HEAR),
        (HAL, "users/ann/x", True, HEAR),
        (HAL, "users/ann/y", False, USERS),
        (HAL, "badly", False, None),
        (HAL, "bad*", False, None),
        (HAL, "tasks", True, TASKS),
    ],
)
def test_decision_is_as_the_policy_says_when_somebody_asks(
    *, policy: Policy, who: Identity, path: str, is_allowed: bool, rule: str | None
) -> None:
    """I5: the rule that decides is named; of those that only come near, the first says what is missing."""
    decision = policy.decide("t", path, who)
    assert (is_allowed, rule) == (decision.is_allowed, decision.rule)
    assert decision.reason


@pytest.mark.parametrize(
    ("who", "path", "reason"),
    [
        (ANONYMOUS, "users/ann/1", "needs a token"),
        (ANN, "users/bob/1", "is for another value of the claim"),
        (ANN, "teams/red/1", "needs the scope teams"),
        (BOB, "floors/7/bob", "needs the scope floors"),
        (ANN, "admin/x", "needs the role admin or root"),
        (ANN, "x", "no rule of the app is about this path"),
    ],
)
def test_refusal_says_what_is_missing_when_a_rule_comes_near(
    policy: Policy, who: Identity, path: str, reason: str
) -> None:
    """Why not, in the words of the rule."""
    assert reason == policy.decide("t", path, who).reason


def test_app_decides_for_itself_when_there_are_others(policy: Policy) -> None:
    """Rules are an app's own; what the issuer grants holds in all of them, and an unknown app has nothing."""
    assert not policy.decide("closed", "tasks", SUE).is_allowed
    assert policy.decide("closed", "own/1", HAL).is_allowed
    unknown = Decision(is_allowed=False, rule=None, reason="the policy has no app 'none'")
    assert unknown == policy.decide("none", "own/1", HAL)


def test_documented_policy_is_accepted_when_its_keys_are_there(tmp_path: Path) -> None:
    """The reference in docs/operations.md is a policy."""
    match = re.search(r"## The policy file.*?```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert match is not None
    (tmp_path / "secret").write_bytes(b"s" * 32)
    pem = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "k1.pem").write_bytes(pem)
    documented = parse_policy(match[1], tmp_path)
    assert documented.decide("tasks", "users/ann/inbox", ANN).is_allowed
    assert not documented.decide("tasks", "users/bob/inbox", ANN).is_allowed


LETTERS = st.text(alphabet="ab.", min_size=1, max_size=2)
SEGMENTS = st.one_of(LETTERS, st.sampled_from(["*", "**", "{sub}", "{claims.team}"]))
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=6).map("/".join).filter(lambda text: "**/**" not in text)
PATHS = st.lists(LETTERS, min_size=1, max_size=7).map("/".join)
CLAIMS = st.dictionaries(st.sampled_from(["sub", "team"]), LETTERS)
WIDE = ["*", "**", "a/b", "..", ".", "", "{sub}", "a/*", "**/a", "%2e"]
HOSTILE = st.one_of(st.sampled_from(WIDE), st.text(max_size=8))
SCOPES = st.frozensets(st.sampled_from(["teams", "floors", "vault", "x"]))


def described(pattern: list[str | Placeholder], segments: list[str], claims: dict[str, str]) -> bool:
    """Tell whether `pattern` describes `segments` for `claims`: the definition, word by word, however slow."""
    if not pattern:
        return not segments
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        return any(described(rest, segments[skipped:], claims) for skipped in range(len(segments) + 1))
    if isinstance(head, Placeholder):
        head = claims.get(head.claim, "no segment")
    return bool(segments) and head in {"*", segments[0]} and described(rest, segments[1:], claims)


@given(text=PATTERNS, path=PATHS, claims=CLAIMS)
def test_pattern_with_placeholders_matches_its_language_when_drawn_at_random(
    text: str, path: str, claims: dict[str, str]
) -> None:
    """I5: no pattern grants a path outside its language, whatever the token says."""
    pattern = parse_pattern(text, allows_placeholders=True)
    assert described(list(pattern.segments), path.split("/"), claims) == pattern.matches(path, claims)


@given(text=PATTERNS, path=st.one_of(PATHS, HOSTILE), value=HOSTILE)
def test_claim_never_widens_a_pattern_when_it_is_hostile(text: str, path: str, value: str) -> None:
    """I5: with any claim at all, a rule matches nothing but what it would for a segment of the path itself."""
    pattern = parse_pattern(text, allows_placeholders=True)
    if pattern.matches(path, {"sub": value, "team": value}):
        assert is_path(path)
        assert pattern.matches(path) or value in path.split("/")


@given(value=HOSTILE)
def test_segment_has_no_structure_when_it_may_stand_in_a_path(value: str) -> None:
    """A claim that may stand for a segment stays one segment in a path."""
    if is_segment(value):
        assert ["users", value, "x"] == f"users/{value}/x".split("/")
        assert is_path(f"users/{value}/x")
        assert value not in {".", ".."}


@given(path=PATHS, claims=CLAIMS, scopes=SCOPES, role=LETTERS)
def test_relevant_identity_decides_the_same_when_the_rest_is_forgotten(
    policy: Policy, path: str, claims: dict[str, str], scopes: frozenset[str], role: str
) -> None:
    """What a record keeps of a token is enough to decide again by the same policy."""
    roles = frozenset({role, "root"})
    said = {**claims, "x": "y"}
    whole = Identity(subject=claims.get("sub", "nobody"), claims=said, scopes=scopes, roles=roles, expires=1)
    for asked in (path, f"users/{path}", f"teams/{path}", f"vault/{path}"):
        assert policy.decide("t", asked, whole) == policy.decide("t", asked, policy.relevant(whole))
    assert not policy.relevant(whole).claims.keys() & {"x"}
