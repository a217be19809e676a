"""Uids: signed, self-contained names of listening clients.

A uid is 32 bytes in base64url (43 characters): 16 random bytes, 4 bytes of issue time (seconds since 1970), and the
first 12 bytes of their HMAC-SHA256. Nothing has to be stored to recognise one, so a flood of first polls fills nothing.
Only longpoll mints; longpoll and subscriptions verify with the same key.
"""

import base64
import binascii
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Annotated

import msgspec

from roots.runtime.config import setting

MIN_KEY_BYTES = 32
UID_CHARACTERS = 43
DEFAULT_MAX_AGE_SECONDS = 7 * 24 * 3600

_RANDOM_BYTES = 16
_SIGNED_BYTES = _RANDOM_BYTES + 4
_MAC_BYTES = 12
# Of the first random byte: it makes a uid begin with "-", which a command line takes for an option.
_MINUS = 62
_CLOCK_SKEW_SECONDS = 60


@dataclass(frozen=True, kw_only=True)  # without slots, so that a service can inherit BrokerConfig as well
class UidConfig:
    """How uids are signed and when they end: the same for every service, or one refuses what another has minted."""

    uid_key: Annotated[str, msgspec.Meta(min_length=MIN_KEY_BYTES)] = setting("ROOTS_UID_KEY", is_secret=True)
    uid_max_age_seconds: Annotated[int, msgspec.Meta(ge=1)] = setting(
        "ROOTS_UID_MAX_AGE_SECONDS", default=DEFAULT_MAX_AGE_SECONDS
    )

    @property
    def uids(self) -> "Uids":
        """What mints and verifies uids by these settings."""
        return Uids(self.uid_key.encode(), self.uid_max_age_seconds)


class Uids:
    """Mints and verifies uids with one key.

    Units: max_age_seconds from the issue of a uid to its end.
    Errors: ValueError for a key under 32 bytes.
    """

    def __init__(self, key: bytes, max_age_seconds: float = DEFAULT_MAX_AGE_SECONDS) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(f"a uid key has at least {MIN_KEY_BYTES} bytes, this one {len(key)}")
        self._key = key
        self._max_age_seconds = max_age_seconds

    def mint(self, now: float | None = None) -> str:
        """Return a new uid issued at `now` (seconds since 1970; the present by default)."""
        issued = int(time.time() if now is None else now)
        while (random := secrets.token_bytes(_RANDOM_BYTES))[0] >> 2 == _MINUS:
            pass
        signed = random + issued.to_bytes(4, "big")
        return base64.urlsafe_b64encode(signed + self._mac(signed)).decode("ascii")[:UID_CHARACTERS]

    def is_valid(self, uid: str, now: float | None = None) -> bool:
        """Return whether `uid` was minted with this key and has not expired at `now`."""
        if len(uid) != UID_CHARACTERS:
            return False
        try:
            raw = base64.b64decode(uid.encode("ascii") + b"=", altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return False
        # One uid has one spelling: the last character carries two bits that base64 ignores.
        if base64.urlsafe_b64encode(raw)[:UID_CHARACTERS] != uid.encode("ascii"):
            return False
        signed = raw[:_SIGNED_BYTES]
        if not hmac.compare_digest(self._mac(signed), raw[_SIGNED_BYTES:]):
            return False
        age = (time.time() if now is None else now) - int.from_bytes(signed[_RANDOM_BYTES:], "big")
        return -_CLOCK_SKEW_SECONDS <= age <= self._max_age_seconds

    def _mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._key, signed, "sha256")[:_MAC_BYTES]
