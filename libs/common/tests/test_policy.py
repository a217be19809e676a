"""Which paths the rules of a policy allow, and how a wrong policy is refused."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots.auth.patterns import parse_pattern
from roots.auth.policy import parse_policy
from roots.auth.policy_file import PolicyError
from roots.contracts.identity import ANONYMOUS

LETTERS = st.text(alphabet="ab.-", min_size=1, max_size=3)
SEGMENTS = st.lists(LETTERS, min_size=1, max_size=8)
PATTERNS = st.lists(st.one_of(LETTERS, st.just("*"), st.just("**")), min_size=1, max_size=8).filter(
    lambda segments: "**/**" not in "/".join(segments)
)


def is_in_language(pattern: list[str], segments: list[str]) -> bool:
    """Tell whether `pattern` describes `segments`: the definition, word by word, however slow."""
    if not pattern:
        return not segments
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        return any(is_in_language(rest, segments[skipped:]) for skipped in range(len(segments) + 1))
    return bool(segments) and head in {"*", segments[0]} and is_in_language(rest, segments[1:])


@given(pattern=PATTERNS, segments=SEGMENTS)
def test_pattern_matches_its_language_when_drawn_at_random(pattern: list[str], segments: list[str]) -> None:
    """I5: a pattern matches exactly the paths that its definition describes."""
    assert is_in_language(pattern, segments) == parse_pattern("/".join(pattern)).matches("/".join(segments))


@given(segments=SEGMENTS, data=st.data())
def test_pattern_matches_when_made_from_the_path(segments: list[str], data: st.DataObject) -> None:
    """A path stays matched when any of its segments becomes `*`, or its tail `**`."""
    starred = [data.draw(st.sampled_from([segment, "*"])) for segment in segments]
    cut = data.draw(st.integers(min_value=0, max_value=len(segments)))
    path = "/".join(segments)

    assert parse_pattern("/".join(starred)).matches(path)
    assert parse_pattern("/".join([*starred[:cut], "**"])).matches(path)


@given(pattern=PATTERNS, text=st.text(max_size=40))
def test_pattern_matches_no_text_that_is_no_path_when_drawn_at_random(pattern: list[str], text: str) -> None:
    """I5: what is not a path is never matched, whatever the pattern."""
    is_path_like = text.isascii() and bool(text) and all(c.isalnum() or c in "_-.~@+=/" for c in text)
    assert is_path_like or not parse_pattern("/".join(pattern)).matches(text)


@pytest.mark.parametrize(
    ("pattern", "path", "is_matched"),
    [
        ("tasks", "tasks", True),
        ("tasks", "Tasks", False),
        ("tasks", "tasks/1", False),
        ("tasks", "task", False),
        ("a.c", "abc", False),
        ("a+", "aa", False),
        ("*", "tasks", True),
        ("*", "tasks/1", False),
        ("*", "..", True),
        ("users/*", "users", False),
        ("users/*", "users/7", True),
        ("users/*", "users/7/mail", False),
        ("users/*/mail", "users/7/mail", True),
        ("users/*/mail", "users/7/8/mail", False),
        ("users/**", "users", True),
        ("users/**", "users/7/mail", True),
        ("users/**", "users2/7", False),
        ("users/**", "admin/users/7", False),
        ("users/7/**", "users/7/../8", True),
        ("users/7/**", "users/8", False),
        ("**/mail", "mail", True),
        ("**/mail", "users/7/mail", True),
        ("**/mail", "users/7/mailbox", False),
        ("a/**/b/**/c", "a/b/c", True),
        ("a/**/b/**/c", "a/x/b/y/z/c", True),
        ("a/**/b/**/c", "a/x/c", False),
        ("**", "a/b/c/d/e/f/g/h", True),
        ("**", "a/b/c/d/e/f/g/h/i", False),
        ("**", "", False),
        ("**", "/tasks", False),
        ("**", "tasks/", False),
        ("**", "a//b", False),
        ("**", "tasks\n", False),
        ("**", "::+::disconnect", False),
        ("**", "%2e%2e/tasks", False),
        ("**", "tаsks", False),  # noqa: RUF001  # the look-alike is the test: Cyrillic a
        ("**", "tasks\0", False),
        ("**", "roots.events.>", False),
    ],
)
def test_pattern_matches_as_documented_when_given_a_path(*, pattern: str, path: str, is_matched: bool) -> None:
    """I5: wildcards are whole segments, and paths are compared as they are written."""
    assert is_matched == parse_pattern(pattern).matches(path)


def test_pattern_is_fast_when_it_almost_matches() -> None:
    """I7: the pattern with the most ways to try still answers within the test's time."""
    worst = parse_pattern("**/*/**/*/**/*/**/*/**/x")
    assert not any(worst.matches("a/b/c/d/e/f/g/h") for _ in range(1000))


@pytest.mark.parametrize(
    "pattern",
    ["", "/", "tasks/", "/tasks", "user*", "***", "a/**b", "users/{sub}", "a b", "::x", "**/**", "a/b/c/d/e/f/g/h/*"],
)
def test_pattern_is_refused_when_it_could_not_be_meant(pattern: str) -> None:
    """A wildcard inside a segment, a placeholder or an empty segment is a mistake, not a literal."""
    with pytest.raises(ValueError, match=r"segment|second"):
        parse_pattern(pattern)


def test_policy_allows_what_any_rule_of_the_app_allows_when_there_are_several() -> None:
    """Rules add up, and an app's rules are its own."""
    policy = parse_policy(
        """
        [apps.tasks]
        allow = [{ paths = ["tasks"], who = "anyone" }, { paths = ["news/*", "weather"], who = "anyone" }]
        [apps.closed]
        allow = []
        """
    )
    heard = {
        (app, path)
        for app in policy.apps
        for path in ("tasks", "news/1", "weather", "news")
        if policy.decide(app, path, ANONYMOUS).is_allowed
    }
    assert {("tasks", "tasks"), ("tasks", "news/1"), ("tasks", "weather")} == heard


@pytest.mark.parametrize(
    ("text", "place", "line", "problem"),
    [
        ("[apps.tasks]\nallow = [}", "", 2, "line 2"),
        ("[apps.tasks]\nallow = [", "", 2, "not TOML"),
        ("[apps.tasks\n\n", "", 1, "not TOML"),
        ("a = 1\na = 2", "", 2, "not TOML"),
        ("# \u2028 \x85\n[apps]\ntasks = 1", "apps.tasks", 3, "object"),
        ("[apps]\n\nx = " + "[" * 5000, "", 3, "too deeply"),
        ("[apps]\nx = 1\ny = " + "9" * 5000 + "\nz = 1", "", 3, "too many digits"),
        ("apps = 1", "apps", 1, "object"),
        ("[apps.a]\nallow = []\n[apps.'a.b']\nallow = []", 'apps."a.b"', 3, "name"),
        ("[apps.a]\nallow = []\n[apps.'b]']\nallow = []", 'apps."b]"', 3, "name"),
        ("[backends.a]\nkeyless = true\n[backends.'']", 'backends.""', 3, "name"),
        ("'a.b' = 1", '"a.b"', 1, "no such key"),
        ("\n[tokens]\naudience = 'roots'", "tokens", 2, "no key"),
        ("[apps]\n\n[backends]\nb = 1", "backends.b", 4, "object"),
        ("[backends.b]\nkeyless = true\nrate = nan", "backends.b.rate", 3, ""),
        ("\n[app.tasks]\nallow = []", "app", 2, "no such key"),
        ("[apps]\ntasks = 1", "apps.tasks", 2, "object"),
        ("[apps.tasks]", "apps.tasks", 1, "allow"),
        ("[apps.tasks]\nallow = []\ndeny = []", "apps.tasks.deny", 3, "no such key"),
        ("[apps.'a b']\nallow = []", "apps.a b", 1, "name"),
        ('[apps.t]\nallow = [{ paths = ["a"] }]', "apps.t.allow[0]", 2, "who"),
        ('[apps.t]\nallow = [{ paths = ["a"], who = "everyone" }]', "apps.t.allow[0].who", 2, "everyone"),
        ('[apps.t]\nallow = [{ paths = [], who = "anyone" }]', "apps.t.allow[0].paths", 2, "length"),
        ('[apps.t]\nallow = [{ paths = "a", who = "anyone" }]', "apps.t.allow[0].paths", 2, "array"),
        ('[apps.t]\nallow = [{ paths = ["a"], who = "anyone", role = 1 }]', "apps.t.allow[0].role", 2, "no such key"),
        ('[apps.t]\nallow = [{ paths = ["a", "b*"], who = "anyone" }]', "apps.t.allow[0].paths[1]", 2, "'b*'"),
        (
            '[apps.t]\nallow = [\n{ paths = ["a"], who = "anyone" },\n{ paths = [\n"b",\n"c*"], who = "anyone" }]',
            "apps.t.allow[1].paths[1]",
            6,
            "'c*'",
        ),
        (
            '[apps.t]\nallow = [\n  { paths = ["a"], who = "signed-in" }]',
            "apps.t.allow[0]",
            3,
            "no client is signed in",
        ),
        ('[apps.t]\nallow = []\nwrite = "all"', "apps.t.write.who", 3, "'all'"),
        ("[apps]\n[backends.b]\nkeyless = true\ngrants = []", "backends.b.grants", 4, "no such key here, but burst"),
        ("[apps]\n[backends.b]\nkeyless = true\nrate = 0", "backends.b.rate", 4, "> 0"),
        ('[apps]\n[backends.b]\nkeyless = true\ngrant = [\n"a",\n"b*"]', "backends.b.grant[1]", 6, "'b*'"),
        ('[apps.t]\nallow = [{ paths = ["""\n\nb*\n""",\n"c"], who = "anyone" }]', "apps.t.allow[0].paths[0]", 5, "b*"),
    ],
)
def test_policy_names_the_place_and_the_line_when_it_is_wrong(
    text: str, place: str, line: int | None, problem: str
) -> None:
    """Nothing unknown is ignored: a rule that silently does not count would open or close a back-end API."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert (place, line) == (caught.value.place, caught.value.line)
    assert problem in caught.value.problem


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "[apps]", "[backends.b]\nkeyless = true\npublish = ['news']"])
def test_policy_without_apps_lets_nobody_hear_when_it_is_parsed(text: str) -> None:
    """I5: an empty policy is one: no app connects anybody, and back ends may still be named."""
    policy = parse_policy(text)
    assert ({}, False) == (policy.apps, policy.decide("tasks", "tasks", ANONYMOUS).is_allowed)
    assert ("b" in policy.backends) is ("backends" in text)


def test_back_end_is_left_out_when_its_key_is_not_there_and_not_needed(tmp_path: Path) -> None:
    """A service without the keys of back ends checks everything else, and what it can read."""
    text = "[backends.a]\nkey_file = 'none'\n[backends.b]\nkey_file = 'other'\n[backends.c]\nkeyless = true\n"
    assert {"c"} == parse_policy(text, tmp_path, needs_backend_keys=False).backends.keys()
    with pytest.raises(PolicyError, match=r"line 2, backends\.a\.key_file: .*can't be read"):
        parse_policy(text, tmp_path)
    with pytest.raises(PolicyError, match=r"line 8, backends\.d\.publish"):
        parse_policy(f"{text}[backends.d]\npublish = ['b*']\nkey_file = 'none'", tmp_path, needs_backend_keys=False)
    (tmp_path / "none").write_text("too short")
    with pytest.raises(PolicyError, match=r"line 2, backends\.a\.key_file"):
        parse_policy(text, tmp_path, needs_backend_keys=False)


def test_line_is_named_at_once_when_the_policy_has_thousands_of_rules() -> None:
    """A policy that a program writes is long; the service that says what is wrong with it has others to answer."""
    rules = "".join(f'{{ paths = ["a{number}/**"], who = "anyone" }},\n' for number in range(1000))
    began = time.process_time()
    with pytest.raises(PolicyError) as caught:
        parse_policy(f'[apps.t]\nallow = [\n{rules}{{ paths = ["b*"], who = "anyone" }},\n{rules}]')
    assert 1003 == caught.value.line
    assert time.process_time() - began < 5
