"""The `[tokens]` table of the policy file: whose tokens are accepted, and the keys that verify them.

Source: docs/operations.md, The policy file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from roots.auth.policy_file import PolicyError, convert

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]
PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MIN_SECRET_BYTES = 32
MIN_RSA_BITS = 2048
MAX_KEY_FILE_BYTES = 64 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key and the one algorithm that it is for, so that no token can choose another (key confusion)."""

    algorithm: Algorithm
    material: bytes | PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What a token has to be.

    Shape: keys are by kid; jwks is the URL of more, or None; cookie is the name of the cookie that may hold a token,
        None when only the header may; max_clients is how many uids one subject may have at a time.
    """

    audience: str
    issuer: str | None
    keys: dict[str, Key]
    jwks: str | None
    cookie: str | None
    max_clients: int


class _KeyTable(msgspec.Struct, frozen=True, kw_only=True):
    kid: _Text
    alg: Algorithm
    secret_file: _Text | None = None
    public_key_file: _Text | None = None


class _TokensTable(msgspec.Struct, frozen=True, kw_only=True):
    audience: _Text
    issuer: _Text | None = None
    keys: list[Any] = []
    jwks: _Text | None = None
    cookie: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    max_clients: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 256


def parse_token_rules(table: object, folder: Path, *, place: str = "tokens") -> TokenRules:
    """Return the rules of the table `[tokens]`, its key files read.

    Shape: folder is where relative names of key files begin.
    Errors: PolicyError.
    """
    tokens: _TokensTable = convert(table, _TokensTable, place=place)
    keys: dict[str, Key] = {}
    for index, value in enumerate(tokens.keys):
        key_place = f"{place}.keys[{index}]"
        key: _KeyTable = convert(value, _KeyTable, place=key_place)
        if key.kid in keys:
            raise PolicyError(f"there are two keys {key.kid!r}", f"{key_place}.kid")
        keys[key.kid] = _read_key(key, folder, key_place)
    if not keys and tokens.jwks is None:
        raise PolicyError("there is no key: name keys, or the URL of a jwks", place)
    if tokens.jwks is not None:
        _check_url(tokens.jwks, f"{place}.jwks")
        if tokens.issuer is None:
            raise PolicyError("with a jwks the tokens need an issuer", place)
    return TokenRules(
        audience=tokens.audience,
        issuer=tokens.issuer,
        keys=keys,
        jwks=tokens.jwks,
        cookie=tokens.cookie,
        max_clients=tokens.max_clients,
    )


def algorithm_of(key: PublicKey) -> Algorithm | None:
    """Return the algorithm that `key` is for, None when it is of no use here."""
    if isinstance(key, RSAPublicKey):
        return "RS256" if key.key_size >= MIN_RSA_BITS else None
    if isinstance(key, EllipticCurvePublicKey):
        return "ES256" if isinstance(key.curve, SECP256R1) else None
    return "EdDSA"


def _read_key(key: _KeyTable, folder: Path, place: str) -> Key:
    wanted, unwanted = "secret_file", "public_key_file"
    if key.alg != "HS256":
        wanted, unwanted = unwanted, wanted
    name = getattr(key, wanted)
    if name is None or getattr(key, unwanted) is not None:
        raise PolicyError(f"a key for {key.alg} has a {wanted}, and no {unwanted}", place)
    place = f"{place}.{wanted}"
    try:
        raw = (folder / name).read_bytes()[: MAX_KEY_FILE_BYTES + 1].strip()
    except OSError as error:
        raise PolicyError(f"it can't be read: {error.strerror}", place) from error
    return Key(algorithm="HS256", material=_secret(raw, place)) if key.alg == "HS256" else _public(key.alg, raw, place)


def _secret(raw: bytes, place: str) -> bytes:
    if not MIN_SECRET_BYTES <= len(raw) <= MAX_KEY_FILE_BYTES:
        raise PolicyError(f"a secret has at least {MIN_SECRET_BYTES} bytes, this one {len(raw)}", place)
    try:
        # A public key is no secret: whoever has it could sign.
        jwt.get_algorithm_by_name("HS256").prepare_key(raw)
    except jwt.InvalidKeyError as error:
        raise PolicyError("it is a public key, and no secret", place) from error
    return raw


def _public(algorithm: Algorithm, raw: bytes, place: str) -> Key:
    try:
        key: Any = jwt.get_algorithm_by_name(algorithm).prepare_key(raw)
    except (jwt.InvalidKeyError, ValueError, TypeError) as error:
        raise PolicyError(f"it is no public key for {algorithm} in PEM", place) from error
    if not isinstance(key, PublicKey):
        raise PolicyError("it is a private key, which belongs to the issuer alone", place)
    if algorithm_of(key) != algorithm:
        raise PolicyError(f"it is no key for {algorithm}; RSA needs {MIN_RSA_BITS} bits, ES256 P-256", place)
    return Key(algorithm=algorithm, material=key)


def _check_url(url: str, place: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise PolicyError("it is no URL", place) from error
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        raise PolicyError("the URL starts with https://, as whoever changes the keys on the way could sign", place)
