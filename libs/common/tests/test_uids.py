"""A uid that was minted verifies until it expires; nothing else does."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots.contracts.uids import UID_CHARACTERS, UidConfig, Uids
from roots.runtime.config import load

KEY = b"k" * 32
NOW = 1_795_000_000.0
DAY = 24 * 3600.0


def test_uid_is_no_option_of_a_command_when_it_is_minted() -> None:
    """It can be typed as it is: `python -m cornelius explain UID`."""
    assert not [uid for uid in (Uids(KEY).mint(NOW) for _ in range(2000)) if uid.startswith("-")]


def test_uid_verifies_when_it_was_minted_with_the_same_key() -> None:
    """What one replica mints, another one accepts."""
    uid = Uids(KEY).mint(NOW)

    assert len(uid) == UID_CHARACTERS
    assert Uids(KEY).is_valid(uid, NOW + DAY)


def test_uid_is_refused_when_the_key_is_another() -> None:
    """A uid of another system is unknown here."""
    assert not Uids(b"x" * 32).is_valid(Uids(KEY).mint(NOW), NOW)


@pytest.mark.parametrize(("age_seconds", "is_valid"), [(0, True), (99, True), (101, False), (-59, True), (-61, False)])
def test_uid_ends_when_its_age_passes_the_limit(age_seconds: float, *, is_valid: bool) -> None:
    """It lives for max_age_seconds, and may be a minute ahead of this clock."""
    assert is_valid == Uids(KEY, 100).is_valid(Uids(KEY).mint(NOW), NOW + age_seconds)


@given(st.binary(min_size=32, max_size=32))
def test_uid_is_refused_when_it_was_made_up(raw: bytes) -> None:
    """32 bytes of anyone's choice are no uid."""
    assert not Uids(KEY).is_valid(base64.urlsafe_b64encode(raw).decode().rstrip("="), NOW)


@given(st.text(max_size=60))
def test_uid_is_refused_when_it_is_any_text(text: str) -> None:
    """No text makes verification fail otherwise than by saying no."""
    assert not Uids(KEY).is_valid(text, NOW)


def test_uid_has_one_spelling_when_its_last_character_changes() -> None:
    """The last character carries bits that base64 ignores; they may not make a second name for one client."""
    uid = Uids(KEY).mint(NOW)
    others = {uid[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"} - {uid}

    assert not any(Uids(KEY).is_valid(other, NOW) for other in others)


def test_uids_refuse_a_key_when_it_is_short() -> None:
    """A key that could be guessed is a configuration error."""
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Uids(b"short")


def test_uids_end_as_the_environment_says_when_it_does() -> None:
    """One setting for every service that mints or verifies."""
    config = load(UidConfig, {"ROOTS_UID_KEY": "k" * 32, "ROOTS_UID_MAX_AGE_SECONDS": "60"})
    uid = config.uids.mint(NOW)
    assert (True, False) == (config.uids.is_valid(uid, NOW + 60), config.uids.is_valid(uid, NOW + 61))
    assert 7 * DAY == load(UidConfig, {"ROOTS_UID_KEY": "k" * 32}).uid_max_age_seconds
