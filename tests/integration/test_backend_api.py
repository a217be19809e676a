"""The back-end API and the replicas of longpoll together: what a back end does, clients hear."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.testkit.deadlines import clock, within

from roots_devstack.stack import Stack

from .crowd import Crowd
from .http_client import Answer, HttpConnection
from .listener import Listener

CLIENTS = 1000
HEARD_WITHIN_SECONDS = 1.0


class Backend:
    """A back end with the key of the stack's policy, or without one."""

    def __init__(self, stack: Stack, home: Path, *, has_key: bool = True) -> None:
        self._url = str(stack.processes["subscriptions"].backend_api_url)
        key = (home / "secrets/backend-todos").read_text(encoding="ascii").strip()
        self._headers = {"Authorization": f"Bearer {key}"} if has_key else {}

    async def ask(self, method: str, target: str, body: object = None) -> Answer:
        """Send one request to the back-end API."""
        async with HttpConnection(self._url) as connection:
            return await connection.request(method, target, body, self._headers)

    async def connect(self, uid: str, *paths: str) -> None:
        """Connect a client as in 2009."""
        items = [{"path": "::connect", "message": f"{uid}->{path}"} for path in paths]
        assert b"{success:true}" == (await self.ask("POST", "/", items)).body


@pytest.fixture
def backend(stack: Stack, home: Path) -> Backend:
    """Return the back end `todos`."""
    return Backend(stack, home)


async def test_clients_hear_what_a_back_end_publishes_when_it_has_connected_them(
    stack: Stack, backend: Backend
) -> None:
    """I1: a back end's connect is confirmed, and what it publishes afterwards is heard, in order."""
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.poll()
        await backend.connect(client.uid, "rooms/7", "rooms/8")
        await client.poll_until(lambda: len(client.updates) >= 2)
        batch = [{"path": f"rooms/{7 + n % 2}", "message": json.dumps(n), "id": f"rooms-{n}"} for n in range(20)]
        assert 200 == (await backend.ask("POST", "/v1/publish", batch)).status
        assert 200 == (await backend.ask("POST", "/v1/publish", batch)).status
        await client.poll_until(lambda: len(client.messages("rooms/7")) + len(client.messages("rooms/8")) >= 20)
        assert [json.dumps(n) for n in range(20)] == [message for _, message in client.updates if message]


async def test_client_of_2009_publishes_and_connects_when_it_has_no_key(stack: Stack, home: Path) -> None:
    """The tutorial's back end works unmodified with `make run`; what its policy does not name stays closed."""
    old = Backend(stack, home, has_key=False)
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.poll()
        await old.connect(client.uid, "tasks")
        await client.poll_until(lambda: ("tasks", "") in client.updates)
        answer = await old.ask("POST", "/", [{"path": "tasks", "message": '"from 2009"'}])
        assert (200, b"{success:true}") == (answer.status, answer.body)
        await client.poll_until(lambda: "from 2009" in client.messages())
        assert 403 == (await old.ask("POST", "/", [{"path": "::connect", "message": f"{client.uid}->rooms/7"}])).status
        assert 401 == (await old.ask("POST", "/v1/publish", [{"path": "tasks", "message": ""}])).status


async def test_replica_is_named_when_it_holds_the_client(stack: Stack, backend: Backend) -> None:
    """I6: the back-end API tells which of the replicas holds the poll."""
    replica = str(stack.processes["longpoll-2"].url)
    async with Listener(replica, stack.url) as client:
        await client.poll()
        await backend.connect(client.uid, "held/here")
        await client.poll_until(lambda: ("held/here", "") in client.updates)
        polling = asyncio.create_task(client.poll())

        async def explained() -> Any:
            return (await backend.ask("GET", f"/v1/clients/{client.uid}")).json

        async with within(10):
            while not (answer := await explained())["held"]:
                pass
        assert 2 == answer["replicas"]
        assert [replica.rpartition(":")[2]] == [place["replica"].rpartition(":")[2] for place in answer["held"]]
        assert ["held/here"] == [grant["path"] for grant in answer["hears"]]
        assert 200 == (await backend.ask("DELETE", f"/v1/clients/{client.uid}")).status
        await polling
        assert ("::+::disconnect", "held/here") in client.updates


@pytest.mark.usefixtures("many_files")
@pytest.mark.timeout(180)
async def test_thousand_held_polls_hear_within_a_second_when_their_path_is_revoked(
    stack: Stack, backend: Backend
) -> None:
    """I5: on both replicas, every client is told; what is published afterwards reaches none of them."""
    async with Crowd(stack, CLIENTS) as crowd:
        await crowd.begin("told/all", lambda client: backend.connect(client.uid, "told/all"))
        hearing = await crowd.hear(("::+::disconnect", "told/all"))

        answer = await backend.ask("POST", "/v1/revoke", {"path": "told/all"})
        answered_at = clock()
        told_at = await asyncio.gather(*hearing)
        after = await backend.ask("POST", "/v1/publish", [{"path": "told/all", "message": '"secret"'}])

        assert {"revoked": {"clients": CLIENTS, "paths": CLIENTS}} == answer.json
        assert 200 == after.status
        assert max(told_at) < answered_at + HEARD_WITHIN_SECONDS
        async with within(30):
            for client in crowd.clients[:50]:
                # A change of its own wakes a client; had it heard the secret, it would come with that.
                await backend.connect(client.uid, "told/other")
                await client.poll_until(lambda client=client: ("told/other", "") in client.updates)  # type: ignore[misc]
                assert [] == client.messages("told/all")
