"""The policy of a stack whose caller names none."""

from pathlib import Path

import pytest

from roots_devstack import policy


def test_policy_is_made_once_when_the_caller_names_none(tmp_path: Path) -> None:
    """What its owner changes in it stays, as the key does."""
    made = policy.settings(tmp_path, {})
    file = Path(made["ROOTS_POLICY"])
    key = (tmp_path / "secrets/backend-todos").read_text(encoding="ascii")
    file.write_text("[apps]", encoding="utf-8")

    assert made == policy.settings(tmp_path, {})
    assert ("[apps]", key) == (file.read_text(encoding="utf-8"), (tmp_path / "secrets/backend-todos").read_text())


@pytest.mark.parametrize("name", ["ROOTS_POLICY", "ROOTS_POLICY_FILE"])
def test_no_policy_is_made_when_the_caller_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The caller's own policy counts, however it is named."""
    assert {} == policy.settings(tmp_path, {name: "mine.toml"})
    monkeypatch.setenv(name, "mine.toml")
    assert {} == policy.settings(tmp_path, {})
    assert [] == list(tmp_path.iterdir())
