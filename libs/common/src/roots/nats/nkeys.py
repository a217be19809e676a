"""NATS's own keys: Ed25519 pairs by which a client proves who it is, without sending the server a secret.

A seed is base32 of two bytes of prefix, 32 of the private key and a CRC-16; a public key is base32 of one byte of
prefix, 32 of the key and a CRC-16. A credentials file has a JWT, which an account has signed, and the seed that belongs
to it. The package nkeys would do this, but is published without a wheel. Source: NATS ADR-14; nats-io/nkeys.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

USER_PREFIX = 20 << 3
"""The prefix of users' public keys, which begin with `U`."""

_SEED_PREFIX = 18 << 3
_KEY_BYTES = 32
_SEED_BYTES = 2 + _KEY_BYTES + 2
_SECTION = re.compile(
    r"-{3,}BEGIN (?P<name>[A-Z ]+)-{3,}\s+(?P<body>[A-Za-z0-9_.=-]+?)\s+-{3,}END (?P=name)-{3,}", flags=re.ASCII
)


class NkeyError(ValueError):
    """A text is no seed, or a file no credentials; the message says which, and nothing of the secret."""


@dataclass(frozen=True, slots=True, repr=False)
class Nkey:
    """A key pair. Shape: prefix is the byte for the type of its owner."""

    prefix: int
    private: Ed25519PrivateKey

    @classmethod
    def from_seed(cls, seed: str) -> Self:
        """Return the pair of a seed. Errors: NkeyError."""
        try:
            raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        except ValueError as error:
            raise NkeyError("it is no seed of NATS") from error
        if len(raw) != _SEED_BYTES or raw[0] & 0xF8 != _SEED_PREFIX or raw[-2:] != _checksum(raw[:-2]):
            raise NkeyError("it is no seed of NATS")
        prefix = (raw[0] & 7) << 5 | raw[1] >> 3
        return cls(prefix, Ed25519PrivateKey.from_private_bytes(raw[2:-2]))

    @property
    def seed(self) -> str:
        """The pair as a text: a secret."""
        raw = bytes([_SEED_PREFIX | self.prefix >> 5, (self.prefix & 31) << 3]) + self.private.private_bytes_raw()
        return _encoded(raw)

    @property
    def public(self) -> str:
        """The public key as a text."""
        return _encoded(bytes([self.prefix]) + self.private.public_key().public_bytes_raw())

    def sign(self, nonce: str) -> bytes:
        """Return the signature of a server's nonce, as base64."""
        return base64.b64encode(self.private.sign(nonce.encode()))


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What a credentials file holds. Shape: jwt is public, and says who may do what; nkey proves that it is ours."""

    jwt: str
    nkey: Nkey

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what a credentials file says. Errors: NkeyError."""
        sections = {match["name"]: match["body"] for match in _SECTION.finditer(text)}
        try:
            return cls(sections["NATS USER JWT"], Nkey.from_seed(sections["USER NKEY SEED"]))
        except KeyError as error:
            raise NkeyError(f"it has no {error.args[0]}") from error


def read_nkey(file: str) -> Nkey:
    """Return the pair whose seed is in `file`. Errors: OSError, NkeyError."""
    return Nkey.from_seed(_read(file))


def read_credentials(file: str) -> Credentials:
    """Return what the credentials file says. Errors: OSError, NkeyError."""
    return Credentials.parse(_read(file))


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except UnicodeDecodeError as error:
        raise NkeyError("it is not ASCII") from error


def _encoded(raw: bytes) -> str:
    return base64.b32encode(raw + _checksum(raw)).decode().rstrip("=")


def _checksum(raw: bytes) -> bytes:
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")
