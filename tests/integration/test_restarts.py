"""Any single process may die; what was committed is delivered all the same."""

import asyncio
import uuid

import pytest
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import within

from roots_devstack.stack import Stack

from .http_client import HttpConnection
from .listener import Listener

PROCESSES = ["postgres", "nats", "gateway", "tasks", "relay", "subscriptions", "longpoll-1", "longpoll-2"]


async def _post_until_taken(stack: Stack, description: str) -> None:
    """Create a task, trying again as a client would while a part of the system is away."""
    key = str(uuid.uuid4())
    async with within(30), HttpConnection(stack.url) as api:
        while True:
            try:
                answer = await api.request("POST", "/tasks", {"description": description}, {"Idempotency-Key": key})
            except ConnectionError:
                answer = None
            if answer is not None and answer.status < 500:
                assert answer.status == 201, answer
                return
            await asyncio.sleep(0.1)


async def _poll_until_heard(client: Listener, description: str) -> None:
    async with within(40):
        while description not in [message["description"] for message in client.messages()]:
            try:
                await client.poll()
            except (ConnectionError, AssertionError):
                # The gateway or the replica is away: the same cursor is asked again.
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", PROCESSES)
async def test_listener_hears_next_change_when_process_was_killed(
    stack: Stack, background: LoopThread, name: str
) -> None:
    """I1, I6, I9, I11: kill -9 of any single process loses no change, and the client keeps its uid."""
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.begin(["tasks"])
        await _post_until_taken(stack, f"before {name}")

        await asyncio.to_thread(background.run, faults.kill(stack, name))

        await _post_until_taken(stack, f"after {name}")
        await _poll_until_heard(client, f"after {name}")
        heard = [message["description"] for message in client.messages()]
        assert [f"before {name}", f"after {name}"] == heard
        assert client.gaps == []
        assert len(client.uids) == 1
    await asyncio.to_thread(background.run, stack.wait_ready())
