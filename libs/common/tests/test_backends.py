"""The tables `[backends.NAME]` of a policy: keys, rights, and how a wrong table is refused."""

from pathlib import Path
from typing import Any

import pytest

from roots.auth.backends import Backend, find_by_key, find_keyless, parse_backends
from roots.auth.policy_file import PolicyError

KEY = "key-of-the-back-end-todos"
OTHER_KEY = "key-of-the-back-end-news"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with key files."""
    keys = {"a": f"{KEY}\n", "same": f"  {KEY}", "b": OTHER_KEY, "short": "x" * 15, "two": f"{KEY}\n{OTHER_KEY}\n"}
    for name, key in {**keys, "empty": "", "foreign": "schlüssel-für-die-tür"}.items():
        (tmp_path / name).write_text(key, encoding="utf-8")
    return tmp_path


def test_backend_has_the_rights_of_its_patterns_when_parsed(folder: Path) -> None:
    """Publishing and granting are separate rights, and what is not listed is none."""
    backends = parse_backends({"a": {"key_file": "a", "publish": ["tasks/**"]}, "b": {"key_file": "b"}}, folder)
    assert (True, False) == (backends["a"].may_publish("tasks/1"), backends["a"].may_publish("users/1"))
    assert not backends["a"].may_grant("tasks/1")
    assert not backends["b"].may_publish("tasks")


def test_backend_is_found_when_the_key_is_its_own(folder: Path) -> None:
    """A key opens for its own back end; anything else, also what is near, for none."""
    backends = parse_backends({"a": {"key_file": "a"}, "b": {"key_file": "b"}, "c": {"keyless": True}}, folder)
    found = [find_by_key(backends, key) for key in (KEY, OTHER_KEY, KEY + "x", KEY[:-1], "", "ü", "\udc80")]
    assert [backends["a"], backends["b"], None, None, None, None, None] == found
    assert backends["c"] is find_keyless(backends)


def test_backend_keeps_no_key_when_it_is_shown(folder: Path) -> None:
    """I10: what a log might print of a back end has no key."""
    assert KEY not in repr(parse_backends({"a": {"key_file": "a"}}, folder))


def test_keyless_backend_is_none_when_the_policy_has_none(folder: Path) -> None:
    """Nobody comes in without a key unless a table says so."""
    backends: dict[str, Backend] = parse_backends({"a": {"key_file": "a"}}, folder)
    assert find_keyless(backends) is None


@pytest.mark.parametrize(
    ("tables", "place", "problem"),
    [
        ({"a b": {"key_file": "a"}}, "backends.a b", "name"),
        ({"a": 1}, "backends.a", "object"),
        ({"a": {}}, "backends.a", "either"),
        ({"a": {"key_file": "a", "keyless": True}}, "backends.a", "either"),
        ({"a": {"key_file": "a", "pubish": []}}, "backends.a.pubish", "no such key"),
        ({"a": {"key_file": "a", "publish": "tasks"}}, "backends.a.publish", "array"),
        ({"a": {"key_file": "a", "publish": ["x", "a*"]}}, "backends.a.publish[1]", "'a*'"),
        ({"a": {"key_file": "a", "grant": ["::connect"]}}, "backends.a.grant[0]", "'::connect'"),
        ({"a": {"key_file": "a", "rate": 0}}, "backends.a.rate", "> 0"),
        ({"a": {"key_file": "a", "burst": 999}}, "backends.a.burst", "1000"),
        ({"a": {"key_file": "absent"}}, "backends.a.key_file", "No such file"),
        ({"a": {"key_file": "short"}}, "backends.a.key_file", "16"),
        ({"a": {"key_file": "empty"}}, "backends.a.key_file", "16"),
        ({"a": {"key_file": "two"}}, "backends.a.key_file", "one key"),
        ({"a": {"key_file": "foreign"}}, "backends.a.key_file", "ASCII"),
        ({"a": {"key_file": "a"}, "b": {"key_file": "same"}}, "backends.b", "same key"),
        ({"a": {"keyless": True}, "b": {"keyless": True}}, "backends.b", "without a key"),
    ],
)
def test_backend_is_refused_naming_the_place_when_it_is_wrong(
    folder: Path, tables: dict[str, Any], place: str, problem: str
) -> None:
    """I10: the sentence has the table, the key and what is wrong, and never what a key file holds."""
    with pytest.raises(PolicyError) as caught:
        parse_backends(tables, folder)
    assert place == caught.value.place
    assert problem in caught.value.problem
    assert KEY not in str(caught.value)
