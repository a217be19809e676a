"""The stack's passwords and keys."""

import stat
from pathlib import Path

from roots_devstack.keys import Keys


def test_key_stays_the_same_when_it_was_made_before(tmp_path: Path) -> None:
    """A second start finds the secrets of the first."""
    first = Keys(tmp_path / "secrets").get("uid-key")

    assert first == Keys(tmp_path / "secrets").get("uid-key")


def test_key_starts_with_a_letter_when_made(tmp_path: Path) -> None:
    """nats.conf would read a password that starts with a digit as a number."""
    keys = Keys(tmp_path / "secrets")

    assert [True] * 20 == [keys.get(f"key-{number}")[0].isalpha() for number in range(20)]


def test_key_is_readable_by_its_owner_alone_when_made(tmp_path: Path) -> None:
    """Secrets are kept at mode 0600 in a folder at 0700 (I10)."""
    Keys(tmp_path / "secrets").get("uid-key")

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "secrets", tmp_path / "secrets" / "uid-key")]
    assert [0o700, 0o600] == modes
