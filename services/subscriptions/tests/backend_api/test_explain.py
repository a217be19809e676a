"""What a client hears and why not something else, explained from its record, the policy and the replicas' answers."""

import msgspec
import pytest

from roots.auth.policy import Policy, parse_policy
from roots.contracts.grant_records import GrantRecord, PathGrant, TokenClaims
from roots.contracts.requests import HeldPoll
from roots_subscriptions.backend_api.explain import explain, explain_path
from roots_subscriptions.grants.refusals import Refusal

NOON = 1_700_000_000
NOON_TEXT = "2023-11-14T22:13:20Z"
GRANT = PathGrant(from_seq=7, epoch=1, since=2, version=2, until=NOON, by="apps.tasks", at=NOON)


def record() -> GrantRecord:
    """Return the record of a client that hears `tasks` and `secret/1`, and has lost `news`."""
    other = PathGrant(from_seq=8, epoch=1, since=3, version=3, by="backends.other", at=NOON)
    return GrantRecord(
        subject="ann", version=3, paths={"tasks": GRANT, "secret/1": other}, withdrawn={"news": 3}, expires=NOON
    )


def is_public(path: str) -> bool:
    """Tell whether a path is one that the asking back end may see."""
    return not path.startswith("secret/")


@pytest.fixture
def policy() -> Policy:
    """Return a policy with two apps."""
    return parse_policy(
        """
        [apps.tasks]
        allow = [{ paths = ["tasks"], who = "anyone" }]
        [apps.news]
        allow = [{ paths = ["news", "weather"], who = "anyone" }]
        [backends.tutorial]
        keyless = true
        grant = ["weather"]
        """
    )


def test_client_is_explained_when_it_has_a_record() -> None:
    """Who it is, what it hears since when and until when, what it lost and was refused, and where it is held."""
    refusals = [Refusal(app="tasks", path=path, rule=None, reason="no rule", at=NOON - 1) for path in ("a", "secret/2")]
    places = [HeldPoll(replica="one:8008", held=1.5), HeldPoll(replica="two:8008")]
    explained = explain(record(), places, refusals, may_see=is_public, may_grant=is_public)
    assert {
        "subject": "ann",
        "said": {},
        "expires": NOON_TEXT,
        "hears": [{"path": "tasks", "by": "apps.tasks", "since": NOON_TEXT, "from": 7, "until": NOON_TEXT}],
        "withdrawn": ["news"],
        "refused": [{"app": "tasks", "path": "a", "rule": None, "reason": "no rule", "at": "2023-11-14T22:13:19Z"}],
        "held": [{"replica": "one:8008", "seconds": 1.5}],
        "replicas": 2,
    } == explained


def test_client_is_explained_when_it_has_no_record() -> None:
    """A client that was granted nothing hears nothing."""
    explained = explain(None, [], [], may_see=is_public, may_grant=is_public)
    assert (None, None, [], [], 0) == tuple(
        explained[name] for name in ("subject", "expires", "hears", "held", "replicas")
    )


@pytest.mark.parametrize(
    ("seen", "granted", "subject", "roles"),
    [
        (set(), set(), None, None),
        ({"other"}, {"other"}, None, None),
        ({"tasks"}, set(), "ann", None),
        ({"news"}, {"news"}, "ann", ["admin"]),
        ({"refused"}, {"refused"}, "ann", ["admin"]),
    ],
)
def test_identity_is_told_to_whom_it_concerns_when_a_client_is_explained(
    seen: set[str], granted: set[str], subject: str | None, roles: list[str] | None
) -> None:
    """A key sees who a client is by a path of that client which it may see, and its claims by one that it may grant."""
    known = msgspec.structs.replace(record(), token_claims=TokenClaims(roles=["admin"]))
    refusals = [Refusal(app="tasks", path="refused", rule=None, reason="no rule", at=NOON)]
    explained = explain(known, [], refusals, may_see=seen.__contains__, may_grant=granted.__contains__)
    assert (subject, roles, None if subject is None else NOON_TEXT) == (
        explained["subject"],
        explained["said"].get("roles"),
        explained["expires"],
    )


def test_client_is_explained_when_an_end_is_beyond_all_calendars() -> None:
    """A record that says milliseconds where seconds are meant is shown, with the last second that has a text."""
    late = msgspec.structs.replace(record(), expires=NOON * 1000)
    assert "9999-12-31T23:59:59Z" == explain(late, [], [], may_see=is_public, may_grant=is_public)["expires"]


@pytest.mark.parametrize(
    ("path", "is_heard", "why"),
    [
        ("tasks", True, "apps.tasks granted it"),
        ("weather", False, "the policy allows it; the client has not connected it, or has disconnected it"),
        ("users/7", False, "no app allows it"),
    ],
)
def test_path_is_explained_when_it_is_asked_for(*, policy: Policy, path: str, is_heard: bool, why: str) -> None:
    """The answer to `why not` is one sentence, with each app's rule behind it."""
    explained = explain_path(record(), policy, path)
    assert (path, is_heard, why) == (explained["path"], explained["heard"], explained["why"])


def test_rule_is_named_when_a_path_is_explained(policy: Policy) -> None:
    """Each app's decision names its rule, and who else could grant the path."""
    explained = explain_path(None, policy, "weather")
    assert [("tasks", False, None), ("news", True, "apps.news.allow[0]")] == [
        (decision["app"], decision["allowed"], decision["rule"]) for decision in explained["decisions"]
    ]
    assert ["backends.tutorial"] == explained["grantors"]
