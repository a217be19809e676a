"""Everything is done, good and bad, and nothing that was written holds a uid, a token or a key."""

import asyncio
import time
import urllib.request
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, within

from roots.contracts.uids import Uids
from roots_devstack.keys import Keys
from roots_devstack.stack import Stack, StackConfig

from .http_client import Answer, HttpConnection
from .leaks import Leaks
from .listener import Listener

SECRET = "a-secret-for-the-tests-of-logs-of-32-bytes-or-more"
BACKEND_KEY = "a-back-end-key-for-the-tests-of-logs"
WRONG_KEY = "not-a-back-end-key-but-somebodys-password"
MALFORMED_TOKEN = "a-malformed-token"
ENV = {"ROOTS_LOG_LEVEL": "debug"}
WRITERS = {"postgres", "nats", "gateway", "tasks", "relay", "subscriptions", "longpoll-1", "longpoll-2"}
POLICY = """
[tokens]
audience = "roots"
keys = [{ kid = "secret", alg = "HS256", secret_file = "secret" }]
cookie = "session"

[apps.tasks]
allow = [{ paths = ["tasks"], who = "anyone" }, { paths = ["users/{sub}/**"], who = "signed-in" }]
read = "anyone"
write = "signed-in"

[backends.todos]
key_file = "backend"
publish = ["**"]
grant = ["**"]
"""


def token(subject: str, seconds: float = 600, secret: str = SECRET) -> str:
    """Return a token that ends in so many seconds."""
    claims = {"sub": subject, "aud": "roots", "exp": int(time.time() + seconds)}
    return jwt.encode(claims, secret, "HS256", headers={"kid": "secret"})


def bearer(text: str) -> dict[str, str]:
    """Return the header that has it."""
    return {"Authorization": f"Bearer {text}"}


class Everything:
    """One client's life, and what others try with what they have stolen, guessed or misspelt.

    Shape: statuses are those of all answers; used has every uid, token and key that was sent.
    """

    def __init__(self, stack: Stack, background: LoopThread) -> None:
        self.used = {SECRET, BACKEND_KEY, WRONG_KEY, MALFORMED_TOKEN}
        self.statuses: set[int] = set()
        self._stack = stack
        self._background = background
        self._api = str(stack.processes["subscriptions"].backend_api_url)

    async def happen(self) -> None:
        """Do it all, and end with the death of a replica, of NATS and of the service that connects."""
        async with Listener(self._stack.url, self._stack.url, prefix="/comet") as client:
            await client.poll()
            await self._connect(client.uid)
            await client.poll_until(lambda: ("users/ann/inbox", "") in client.updates)
            await self._publish(client)
            await self._write_tasks(client.uid)
            await self._poll_wrongly(client.uid, client.reconnect_with)
            await self._take_away(client)
            await self._break(client)
            self.used |= set(client.uids)

    async def _ask(
        self,
        target: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        *,
        url: str = "",
        method: str = "",
    ) -> Answer:
        async with HttpConnection(url or self._stack.url) as connection:
            answer = await connection.request(method or ("GET" if body is None else "POST"), target, body, headers)
        self.statuses.add(answer.status)
        return answer

    async def _connect(self, uid: str) -> None:
        good, others = token("ann"), token("bob")
        ended, forged = token("ann", -600), token("ann", secret="x" * 40)
        guessed = Uids(b"a key that nobody has, of 32 bytes").mint()
        self.used |= {uid, good, others, ended, forged, guessed}
        target = f"/tasks/connect/{uid}"
        asked = ["tasks", "users/ann/inbox"]
        assert 200 == (await self._ask(target, asked, bearer(good))).status
        for bad in (ended, forged, MALFORMED_TOKEN, f"{good}x"):
            assert 401 == (await self._ask(target, asked, bearer(bad))).status
        cookie = {"Cookie": f"session={good}", "Sec-Fetch-Site": "same-origin"}
        assert 200 == (await self._ask(target, asked, cookie)).status
        assert 403 == (await self._ask(target, asked, {**cookie, "Sec-Fetch-Site": "cross-site"})).status
        assert 403 == (await self._ask(target, ["users/ann/inbox"], bearer(others))).status
        assert 410 == (await self._ask(f"/tasks/connect/{guessed}", asked, bearer(good))).status
        assert 404 == (await self._ask(f"/nowhere/connect/{uid}", asked, bearer(good))).status
        assert 422 == (await self._ask(target, {"uid": uid, "token": good}, bearer(good))).status
        assert 405 == (await self._ask(target, headers=bearer(good))).status

    async def _publish(self, client: Listener) -> None:
        key = bearer(BACKEND_KEY)
        message = [{"path": "users/ann/inbox", "message": '"hello"'}]
        assert 200 == (await self._ask("/v1/publish", message, key, url=self._api)).status
        for wrong in (bearer(WRONG_KEY), bearer(f"{BACKEND_KEY}x"), {"Authorization": BACKEND_KEY}, {}):
            assert 401 == (await self._ask("/v1/publish", message, wrong, url=self._api)).status
        wrong_item = [{"path": client.uid, "message": BACKEND_KEY, client.uid: 1}]
        assert 422 == (await self._ask("/v1/publish", wrong_item, key, url=self._api)).status
        assert 404 == (await self._ask(f"/v1/{BACKEND_KEY}/{client.uid}", url=self._api)).status
        items = [{"path": "::connect", "message": f"{client.uid}->rooms/7"}]
        assert 200 == (await self._ask("/", items, key, url=self._api)).status
        assert 200 == (await self._ask(f"/v1/clients/{client.uid}?path=rooms/8", headers=key, url=self._api)).status
        assert 410 == (await self._ask(f"/v1/clients/{client.uid[:-1]}", headers=key, url=self._api)).status
        await client.poll_until(lambda: "hello" in client.messages("users/ann/inbox"))

    async def _write_tasks(self, uid: str) -> None:
        good = token("ann")
        self.used.add(good)
        assert 201 == (await self._ask("/tasks", {"description": "milk"}, bearer(good))).status
        assert 401 == (await self._ask("/tasks", {"description": "milk"}, bearer(f"{good}x"))).status
        assert 422 == (await self._ask("/tasks", {"description": 7, "token": good}, bearer(good))).status
        assert 404 == (await self._ask(f"/task/{uid}", headers=bearer(good))).status
        assert 404 == (await self._ask(f"/{uid}?token={good}", headers=bearer(good))).status

    async def _poll_wrongly(self, uid: str, reconnect_with: str) -> None:
        replica = str(self._stack.processes["longpoll-2"].url)
        for url, prefix in ((self._stack.url, "/comet"), (replica, "")):
            assert 400 == (await self._ask(f"{prefix}/{uid}/no-cursor", url=url)).status
            assert 404 == (await self._ask(f"{prefix}/{uid}/1.2.3/{uid}", url=url)).status
            assert 405 == (await self._ask(f"{prefix}/{reconnect_with}", url=url, method="PUT")).status
        for part in ("gateway", "tasks", "subscriptions", "longpoll-2"):
            await self._garble(str(self._stack.processes[part].url), uid)

    async def _garble(self, url: str, uid: str) -> None:
        """Send what is no HTTP, and read until the server has had enough."""
        good = token("ann")
        self.used.add(good)
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GE/{uid} ?{good}\r\nAuthorization Bearer {good}\r\n : {BACKEND_KEY}\r\n\r\n".encode())
        writer.write_eof()
        async with within(20):
            assert b" 200 " not in await reader.read()
        writer.close()

    async def _take_away(self, client: Listener) -> None:
        key = bearer(BACKEND_KEY)
        for body, status in (({"uid": client.uid}, 200), ({"uid": BACKEND_KEY}, 410), ({"subject": "ann"}, 200)):
            assert status == (await self._ask("/v1/revoke", body, key, url=self._api)).status
        assert 200 == (await self._ask(f"/v1/clients/{client.uid}", headers=key, url=self._api, method="DELETE")).status
        await client.poll_until(lambda: ("::+::disconnect", "rooms/7") in client.updates)

    async def _break(self, client: Listener) -> None:
        # Answered by another replica, or by the gateway's own 503: what counts is what they write about it.
        polling = asyncio.create_task(self._ask(f"/comet/{client.reconnect_with}"))
        for name in ("longpoll-1", "longpoll-2"):
            await self._do(faults.kill(self._stack, name))
        await self._do(self._stack.wait_ready())
        await polling
        good = token("ann")
        self.used.add(good)
        for away in ("nats", "subscriptions"):
            await self._do(self._stack.part(away).process.stop())
            target = f"/tasks/connect/{client.uid}"
            assert (await self._ask(target, ["tasks"], bearer(good))).status in {502, 503}
            await self._do(self._stack.part(away).process.start())
            await self._do(self._stack.wait_ready())

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.to_thread(self._background.run, work)


def metrics_of(stack: Stack) -> list[str]:
    """Return every line that a scrape of the services and the gateway gets."""
    services = [info for name, info in stack.processes.items() if name not in {"postgres", "nats"}]
    lines = []
    for info in services:
        with urllib.request.urlopen(f"{info.admin_url}/metrics", timeout=stretched(5)) as answer:  # noqa: S310  # a loopback URL
            lines += answer.read().decode().splitlines()
    return lines


@pytest.mark.timeout(180)
def test_nothing_written_holds_a_secret_when_everything_is_done(background: LoopThread, tmp_path: Path) -> None:
    """I10: at the finest level of the services, through every kind of refusal and the death of three parts."""
    for name, text in (("policy.toml", POLICY), ("secret", SECRET), ("backend", BACKEND_KEY)):
        (tmp_path / name).write_text(text)
    written: list[tuple[str, str]] = []
    config = StackConfig(
        home=tmp_path / "home",
        longpoll_replicas=2,
        extra_env={**ENV, "ROOTS_POLICY": str(tmp_path / "policy.toml")},
        sink=lambda name, line: written.append((name, line)),
    )
    with background.entered(Stack(config)) as stack:
        everything = Everything(stack, background)
        asyncio.run(everything.happen())
        metrics = metrics_of(stack)

    assert {200, 201, 400, 401, 403, 404, 405, 410, 422} <= everything.statuses
    assert WRITERS <= {name for name, _ in written}
    assert {"subscriptions", "tasks"} <= {name for name, line in written if '"debug"' in line}
    assert [] == Leaks(config.home, everything.used).lines([*metrics, *(f"{name}: {line}" for name, line in written)])


@pytest.mark.parametrize("around", ["{}", 'GET /comet/{}/a.1.2 "', "x{}", "{}-_x", "roots-grants.{}: denied"])
def test_leak_is_found_when_a_line_holds_one(tmp_path: Path, around: str) -> None:
    """I10: the check itself sees uids that it was not told of, tokens, and keys, whatever stands around them."""
    keys = Keys(tmp_path / "secrets")
    uid = Uids(keys.get("uid-key").encode()).mint()
    others = Uids(b"the key of another system, 32 bytes").mint()
    leaks = Leaks(tmp_path, ["a-key-of-the-policy"])
    secrets = [uid, keys.get("uid-key"), token("ann"), "a-key-of-the-policy"]
    assert [around.format(text) for text in secrets] == leaks.lines([around.format(text) for text in secrets])
    assert [] == leaks.lines([around.format(text) for text in (others, uid[:-1], "0" * 64, "a-key")])
