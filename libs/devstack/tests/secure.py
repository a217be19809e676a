"""What a secure nats-server needs: certificates, nkeys, and the signed users of an operator."""

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from roots.nats.nkeys import USER_PREFIX, Nkey


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """An authority, a server's certificate for 127.0.0.1, a client's, and one of another authority, as files."""

    ca: Path
    server: Path
    client: Path
    stranger_ca: Path
    stranger: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Write them to `folder`; each certificate's file has its key, too."""
        authority, stranger = trustme.CA(), trustme.CA()
        files = cls(**{name: folder / f"{name}.pem" for name in ("ca", "server", "client", "stranger_ca", "stranger")})
        authority.cert_pem.write_to_path(files.ca)
        stranger.cert_pem.write_to_path(files.stranger_ca)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(files.server)
        authority.issue_cert("service@roots.example").private_key_and_cert_chain_pem.write_to_path(files.client)
        stranger.issue_cert("service@roots.example").private_key_and_cert_chain_pem.write_to_path(files.stranger)
        return files


PREFIXES = {"operator": 14 << 3, "account": 0, "user": USER_PREFIX}
"""The prefixes of public keys: they make the first letter O, A or U."""


def new_nkey(kind: str) -> Nkey:
    """Return a pair of its own."""
    return Nkey(PREFIXES[kind], Ed25519PrivateKey.generate())


def issue(issuer: Nkey, name: str, subject: str, claims: dict[str, Any]) -> str:
    """Return a JWT for `subject`, signed by `issuer`, as NATS writes them."""
    body = {"iat": 1_700_000_000, "iss": issuer.public, "name": name, "sub": subject, "nats": {**claims, "version": 2}}
    digest = hashlib.new("sha512_256", json.dumps(body).encode()).digest()
    body["jti"] = base64.b32encode(digest).decode().rstrip("=")
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body))
    return f"{signed}.{_encoded(issuer.private.sign(signed.encode()))}"


def credentials_of(jwt: str, user: Nkey) -> str:
    """Return a credentials file: a user's JWT and seed."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
