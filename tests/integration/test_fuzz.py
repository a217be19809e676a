"""Anything, sent to every port of the running system: nothing fails, and nothing is heard that was not granted.

ROOTS_TEST_FUZZ has the number of requests, ROOTS_TEST_FUZZ_SEED repeats a run.
"""

import asyncio
import json
import os
import secrets
import time

import pytest
from tests.testkit.deadlines import within

from roots_devstack.stack import Stack

from .guarded import BACKEND_KEY, ask, bearer, fence, publish, token
from .hostile import TARGETS, Hostile, Request
from .http_client import HttpConnection
from .listener import Listener

REQUESTS = int(os.environ.get("ROOTS_TEST_FUZZ", "1500"))
SEED = int(os.environ.get("ROOTS_TEST_FUZZ_SEED") or secrets.randbits(32))
CLIENTS = 20
WORKERS = 16
SECRET_PATH = "users/bob/secret"
SECRET_MESSAGE = "for bob alone"
SECRET_EVERY_SECONDS = 0.1
# A good uid and a good cursor make a held poll, whose client goes away.
PATIENCE_SECONDS = 0.2
ANSWER_SECONDS = 30.0
PORTS = ("longpoll-1", "longpoll-2", "subscriptions", "tasks")


def _urls(stack: Stack, service: str) -> list[str]:
    parts = stack.processes
    if service == "longpoll":
        return [str(parts[name].url) for name in ("longpoll-1", "longpoll-2")]
    if service == "backend-api":
        return [str(parts["subscriptions"].backend_api_url)]
    return [str(parts["subscriptions" if service == "connect" else "tasks"].url)]


class Sender:
    """Sends requests one after the other, and looks at each answer."""

    def __init__(self, stack: Stack, number: int) -> None:
        urls = {service: _urls(stack, service) for service in TARGETS}
        self._connections = {service: HttpConnection(each[number % len(each)]) for service, each in urls.items()}
        self.statuses: dict[str, set[int]] = {service: set() for service in TARGETS}

    async def send(self, request: Request) -> None:
        """Send one, and fail on an answer that should not be."""
        patience = PATIENCE_SECONDS if request.service == "longpoll" else ANSWER_SECONDS
        connection = self._connections[request.service]
        try:
            async with within(patience):
                answer = await connection.request(request.method, request.target, request.body or None, request.headers)
        except TimeoutError:
            assert request.service == "longpoll", (SEED, request)
            return
        except ConnectionError:
            # It answers what it can't read and closes, sometimes before it has read all that was sent.
            connection.close()
            return
        assert answer.status < 500, (SEED, request, answer)
        assert SECRET_MESSAGE.encode() not in answer.body, (SEED, request, answer)
        self.statuses[request.service].add(answer.status)

    def close(self) -> None:
        """End its connections."""
        for connection in self._connections.values():
            connection.close()


@pytest.mark.timeout(60 + REQUESTS // 20)
async def test_services_answer_and_keep_secrets_when_requests_are_anything(guarded: Stack) -> None:
    """I5, I7: no 5xx, nothing on a path that was not granted, and every process lives and works afterwards."""
    pids = {name: guarded.processes[name].pid for name in PORTS}
    good = token("ann", int(time.time()) + 3600)
    replicas = _urls(guarded, "longpoll")
    clients = [Listener(replicas[number % 2], guarded.url) for number in range(CLIENTS)]
    for client in clients:
        await client.__aenter__()
        await client.poll()
    uids = [client.uid for client in clients]
    cursors = [client.reconnect_with.partition("/")[2] for client in clients]
    hostile = Hostile(SEED, uids=uids, cursors=cursors, tokens=[good], key=BACKEND_KEY)
    statuses = await _attack(guarded, hostile)
    assert pids == {name: guarded.processes[name].pid for name in PORTS}
    # They came through to the services, and were not all refused for the same reason.
    assert min(len(each) for each in statuses.values()) > 2, statuses
    for client in clients:
        await fence(guarded, client)
        assert [] == [path for path, _ in client.updates if not _may_hear(path)], SEED
    await _check_work(guarded, good)
    for client in clients:
        await client.__aexit__()


def _may_hear(path: str) -> bool:
    """Tell whether the policy lets an anonymous client, ann or the back end's key have `path` heard."""
    return path in {"tasks", "fence", "::+::disconnect"} or path.startswith("users/ann/")


async def _attack(stack: Stack, hostile: Hostile) -> dict[str, set[int]]:
    """Send REQUESTS requests while secrets are published, and return each service's statuses."""
    senders = [Sender(stack, number) for number in range(WORKERS)]
    left = iter(range(REQUESTS))

    async def work(sender: Sender) -> None:
        for _ in left:
            await sender.send(hostile.request())
        sender.close()

    async def tell_secrets() -> None:
        while True:
            await publish(stack, SECRET_PATH, SECRET_MESSAGE)
            await asyncio.sleep(SECRET_EVERY_SECONDS)

    telling = asyncio.create_task(tell_secrets())
    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(work(sender))
    telling.cancel()
    await asyncio.wait([telling])
    assert telling.cancelled()
    return {service: {status for sender in senders for status in sender.statuses[service]} for service in TARGETS}


async def _check_work(stack: Stack, good: str) -> None:
    """Fail unless a client connects, hears a task's change, and bob hears what is his."""
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.begin(["tasks"])
        answer = await ask(stack.url, "/tasks", {"description": "after all that"}, bearer(good))
        assert 201 == answer.status
        await client.poll_until(lambda: client.messages() != [])
    async with Listener(stack.url, stack.url, prefix="/comet") as bob:
        await bob.poll()
        his = bearer(token("bob", int(time.time()) + 600))
        assert 200 == (await ask(stack.url, f"/tasks/connect/{bob.uid}", [SECRET_PATH], his)).status
        await publish(stack, SECRET_PATH, SECRET_MESSAGE)
        await bob.poll_until(lambda: (SECRET_PATH, json.dumps(SECRET_MESSAGE)) in bob.updates)
