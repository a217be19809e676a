"""What the tests of tokens share: keys of every algorithm, and tokens made with them or by hand."""

import base64
import json
import time
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from roots.auth.token_rules import TokenRules, parse_token_rules

ISSUER = "https://login.example"
SECRET = b"a secret for tests, of 32 bytes or more"
ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")


@cache
def private_key(algorithm: str) -> Any:
    """Return the key that signs; always the same for one algorithm, since RSA takes a while."""
    match algorithm:
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
    return SECRET


def public_pem(algorithm: str) -> bytes:
    """Return the public key as a file has it."""
    pem: bytes = private_key(algorithm).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(algorithm: str) -> bytes:
    """Return the private key as a file has it."""
    pem: bytes = private_key(algorithm).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def public_jwk(algorithm: str, kid: str, **members: object) -> dict[str, Any]:
    """Return the public key as a JWKS has it."""
    key = private_key(algorithm).public_key()
    jwk = json.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(key))
    return {**jwk, "kid": kid, **members}


def write_keys(folder: Path) -> str:
    """Write a key file for each algorithm, and return the `keys` of `[tokens]`; their kids are the algorithms."""
    (folder / "secret").write_bytes(SECRET)
    tables = ['{ kid = "HS256", alg = "HS256", secret_file = "secret" }']
    for algorithm in ALGORITHMS[1:]:
        (folder / f"{algorithm}.pem").write_bytes(public_pem(algorithm))
        tables.append(f'{{ kid = "{algorithm}", alg = "{algorithm}", public_key_file = "{algorithm}.pem" }}')
    return f"[{', '.join(tables)}]"


def make_rules(folder: Path, **values: str) -> TokenRules:
    """Return the rules of a policy file in `folder` with these TOML values."""
    table = {"audience": '"roots"', "issuer": f'"{ISSUER}"', **values}
    text = "\n".join(f"{key} = {value}" for key, value in table.items())
    return parse_token_rules(tomllib.loads(text), folder)


def claims(**others: object) -> dict[str, Any]:
    """Return the claims of a good token; one that is None is left out."""
    now = int(time.time())
    good = {"sub": "ann", "aud": "roots", "iss": ISSUER, "iat": now, "exp": now + 3600, **others}
    return {name: value for name, value in good.items() if value is not None}


def token(algorithm: str = "EdDSA", kid: str | None = "", **others: object) -> str:
    """Return a token with `others` in its claims, signed by the key of `algorithm`, which is its kid too."""
    headers = {} if kid is None else {"kid": kid or algorithm}
    return jwt.encode(claims(**others), private_key(algorithm), algorithm, headers=headers)


def raw_token(header: dict[str, Any], payload: bytes, signature: bytes = b"") -> str:
    """Return a token put together by hand."""
    return ".".join(segment(part) for part in (json.dumps(header).encode(), payload, signature))


def signed_by_hand(payload: bytes, **header: object) -> str:
    """Return a token with a good HS256 signature over any bytes."""
    first = segment(json.dumps({"alg": "HS256", "kid": "HS256", **header}).encode())
    signing_input = f"{first}.{segment(payload)}"
    algorithm = jwt.get_algorithm_by_name("HS256")
    return f"{signing_input}.{segment(algorithm.sign(signing_input.encode(), SECRET))}"


def segment(raw: bytes) -> str:
    """Return bytes as a part of a token."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
