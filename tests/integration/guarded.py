"""A system with a policy of tokens, for tests of who may hear what: its policy, its tokens, its back ends."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from roots_devstack.stack import Stack, StackConfig

from .http_client import Answer, HttpConnection
from .leaks import Leaks
from .listener import Listener

SECRET = b"a secret for tests, of 32 bytes or more"
KEY = Ed25519PrivateKey.generate()
BACKEND_KEY = "a-back-end-key-for-the-tests-of-identity"
WARDEN_KEY = "a-back-end-key-that-may-revoke-users"
POLICY = """
[tokens]
audience = "roots"
max_clients = 2000
keys = [
  { kid = "secret", alg = "HS256", secret_file = "secret" },
  { kid = "public", alg = "EdDSA", public_key_file = "public.pem" },
]

[apps.tasks]
allow = [{ paths = ["tasks"], who = "anyone" }, { paths = ["users/{sub}/**"], who = "signed-in" }]
read = "anyone"
write = "signed-in"

[backends.todos]
key_file = "backend"
publish = ["**"]
grant = ["fence"]

[backends.warden]
key_file = "warden"
grant = ["users/**"]
"""


@asynccontextmanager
async def run_guarded(folder: Path) -> AsyncIterator[Stack]:
    """Run such a system, with two replicas of longpoll, in `folder`."""
    (folder / "policy.toml").write_text(POLICY)
    (folder / "secret").write_bytes(SECRET)
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(pem)
    (folder / "backend").write_text(BACKEND_KEY)
    (folder / "warden").write_text(WARDEN_KEY)
    written: list[str] = []
    config = StackConfig(
        home=folder / "home",
        longpoll_replicas=2,
        extra_env={"ROOTS_POLICY": str(folder / "policy.toml")},
        sink=lambda name, line: written.append(f"{name}: {line}"),
    )
    async with Stack(config) as running:
        yield running
    # I10, after whatever the tests have done to it.
    assert [] == Leaks(config.home, [SECRET.decode(), BACKEND_KEY, WARDEN_KEY]).lines(written)


def token(subject: str, expires: int) -> str:
    """Return a good token: Ann's is signed by the secret, everyone else's by the private key."""
    claims: dict[str, Any] = {"sub": subject, "aud": "roots", "exp": expires}
    if subject == "ann":
        return jwt.encode(claims, SECRET, "HS256", headers={"kid": "secret"})
    return jwt.encode(claims, KEY, "EdDSA", headers={"kid": "public"})


def bearer(text: str) -> dict[str, str]:
    """Return the header that has it."""
    return {"Authorization": f"Bearer {text}"}


async def ask(url: str, target: str, body: object, headers: dict[str, str]) -> Answer:
    """POST once."""
    async with HttpConnection(url) as connection:
        return await connection.request("POST", target, body, headers)


async def publish(stack: Stack, path: str, message: str) -> None:
    """Publish as a back end."""
    url = str(stack.processes["subscriptions"].backend_api_url)
    answer = await ask(url, "/v1/publish", [{"path": path, "message": json.dumps(message)}], bearer(BACKEND_KEY))
    assert 200 == answer.status, answer


async def fence(stack: Stack, client: Listener) -> None:
    """Let `client` hear of a change that is newer than everything published before, and all before it."""
    url = str(stack.processes["subscriptions"].backend_api_url)
    before = client.updates.count(("fence", ""))
    answer = await ask(url, "/", [{"path": "::connect", "message": f"{client.uid}->fence"}], bearer(BACKEND_KEY))
    assert b"{success:true}" == answer.body
    await client.poll_until(lambda: client.updates.count(("fence", "")) > before)
