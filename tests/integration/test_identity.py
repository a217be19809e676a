"""Users of the whole system with tokens: each hears what is theirs, until its token ends or is revoked."""

import asyncio
import time

import pytest
from tests.testkit.deadlines import clock, stretched, until

from roots_devstack.stack import Stack

from .crowd import Crowd
from .guarded import WARDEN_KEY, ask, bearer, fence, publish, token
from .listener import Listener

# Long enough for a client to connect and hear, also where the machine is busy.
TOKEN_SECONDS = 8
TOLD_WITHIN_SECONDS = 1.0
RECOVERED_SECONDS = 30.0
CLIENTS = 1000


async def test_users_hear_their_own_path_while_their_tokens_last_when_algorithms_differ(guarded: Stack) -> None:
    """I5: nobody hears another's path; with the token's end the grant ends, and a renewed one begins it anew."""
    replicas = [str(guarded.processes[name].url) for name in ("longpoll-1", "longpoll-2")]
    async with Listener(replicas[0], guarded.url) as ann, Listener(replicas[1], guarded.url) as bob:
        expires = int(time.time() + stretched(TOKEN_SECONDS))
        users = {"ann": ann, "bob": bob}
        for name, client in users.items():
            await client.poll()
            asked = ["tasks", "users/ann/inbox", "users/bob/inbox"]
            answer = await ask(guarded.url, f"/tasks/connect/{client.uid}", asked, bearer(token(name, expires)))
            assert ["tasks", f"users/{name}/inbox"] == answer.json["connected"]
        for name in users:
            await publish(guarded, f"users/{name}/inbox", f"for {name}")
        for name, client in users.items():
            await client.poll_until(lambda name=name, client=client: client.messages(f"users/{name}/inbox") != [])  # type: ignore[misc]

        await until(lambda: time.time() > expires, expires - time.time() + RECOVERED_SECONDS)
        for name in users:
            await publish(guarded, f"users/{name}/inbox", "secret")
        for client in users.values():
            await fence(guarded, client)
        assert (
            401
            == (await ask(guarded.url, f"/tasks/connect/{ann.uid}", ["tasks"], bearer(token("ann", expires)))).status
        )

        renewed = bearer(token("ann", int(time.time()) + 600))
        answer = await ask(guarded.url, f"/tasks/connect/{ann.uid}", ["users/ann/inbox"], renewed)
        assert 200 == answer.status
        await publish(guarded, "users/ann/inbox", "again")
        await ann.poll_until(lambda: "again" in ann.messages("users/ann/inbox"))
        await fence(guarded, bob)
        assert (["for ann", "again"], []) == (ann.messages("users/ann/inbox"), ann.messages("users/bob/inbox"))
        assert (["for bob"], []) == (bob.messages("users/bob/inbox"), bob.messages("users/ann/inbox"))


async def test_held_polls_hear_of_the_end_within_a_second_when_a_token_ends(guarded: Stack) -> None:
    """I3, I5: on both replicas, and once: after the poll that acknowledges it nothing of it is told again."""
    replicas = [str(guarded.processes[name].url) for name in ("longpoll-1", "longpoll-2")]
    async with Listener(replicas[0], guarded.url) as ann, Listener(replicas[1], guarded.url) as bob:
        told_at: list[tuple[float, float]] = []
        expires = int(time.time() + stretched(TOKEN_SECONDS))

        async def hear(client: Listener, path: str) -> None:
            seconds = expires - time.time() + RECOVERED_SECONDS
            await client.poll_until(lambda: ("::+::disconnect", path) in client.updates, seconds)
            told_at.append((time.time(), clock()))

        async def end() -> float:
            # Of the clock that follows the machine: how busy that is at the end of the test says nothing of before.
            await asyncio.sleep(expires - time.time())
            return clock()

        users = {"ann": ann, "bob": bob}
        for name, client in users.items():
            await client.poll()
            path = f"users/{name}/end"
            answer = await ask(guarded.url, f"/tasks/connect/{client.uid}", [path], bearer(token(name, expires)))
            assert [path] == answer.json["connected"]
        ending = asyncio.create_task(end())
        await asyncio.gather(*(hear(client, f"users/{name}/end") for name, client in users.items()))
        ended: float = await ending
        assert all(expires <= wall and told < ended + TOLD_WITHIN_SECONDS for wall, told in told_at)
        for name, client in users.items():
            await publish(guarded, f"users/{name}/end", "secret")
            await fence(guarded, client)
            assert [] == client.messages(f"users/{name}/end")
            assert 1 == client.updates.count(("::+::disconnect", f"users/{name}/end"))


async def test_task_api_and_connect_agree_on_who_asks_when_they_share_a_policy(guarded: Stack) -> None:
    """The same token is accepted by both services through the gateway, and both refuse a foreign page."""
    good = bearer(token("bob", int(time.time()) + 600))
    task = {"description": "milk"}
    statuses = [
        (await ask(guarded.url, "/tasks", task, {})).status,
        (await ask(guarded.url, "/tasks", task, bearer("x"))).status,
        (await ask(guarded.url, "/tasks", task, {"Origin": "https://evil.example"})).status,
        (await ask(guarded.url, "/tasks", task, good)).status,
    ]
    assert [401, 401, 403, 201] == statuses
    async with Listener(guarded.url, guarded.url, prefix="/comet") as client:
        await client.poll()
        target = f"/tasks/connect/{client.uid}"
        statuses = [
            (await ask(guarded.url, target, ["tasks"], bearer("x"))).status,
            (await ask(guarded.url, target, ["tasks"], {"Origin": "https://evil.example"})).status,
            (await ask(guarded.url, target, ["tasks"], {"Origin": guarded.url})).status,
            (await ask(guarded.url, target, ["tasks"], good)).status,
            (await ask(guarded.url, target, ["tasks"], {})).status,
        ]
    assert [401, 403, 200, 200, 403] == statuses


@pytest.mark.usefixtures("many_files")
@pytest.mark.timeout(180)
async def test_thousand_held_polls_hear_within_a_second_when_their_subject_is_revoked(guarded: Stack) -> None:
    """I5: on both replicas, every client of the subject is told; nobody else is, and nothing is heard afterwards."""
    path, others = "users/carol/told", "users/ann/told"
    url = str(guarded.processes["subscriptions"].backend_api_url)
    expires = int(time.time()) + 600

    async def connect(client: Listener) -> None:
        answer = await ask(guarded.url, f"/tasks/connect/{client.uid}", [path], bearer(token("carol", expires)))
        assert [path] == answer.json["connected"]

    replica = str(guarded.processes["longpoll-1"].url)
    async with Listener(replica, guarded.url) as ann, Crowd(guarded, CLIENTS) as crowd:
        await ann.poll()
        await ask(guarded.url, f"/tasks/connect/{ann.uid}", [others], bearer(token("ann", expires)))
        await ann.poll_until(lambda: (others, "") in ann.updates)
        await crowd.begin(path, connect)
        hearing = await crowd.hear(("::+::disconnect", path))

        answer = await ask(url, "/v1/revoke", {"subject": "carol"}, bearer(WARDEN_KEY))
        answered_at = clock()
        told_at = await asyncio.gather(*hearing)

        assert {"revoked": {"clients": CLIENTS, "paths": CLIENTS}} == answer.json
        assert max(told_at) < answered_at + TOLD_WITHIN_SECONDS
        await publish(guarded, path, "secret")
        await publish(guarded, others, "hers")
        await ann.poll_until(lambda: ann.messages(others) == ["hers"])
        assert ("::+::disconnect", others) not in ann.updates
        for client in crowd.clients[:50]:
            await fence(guarded, client)
            assert [] == client.messages(path)
