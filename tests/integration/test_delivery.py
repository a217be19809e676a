"""A thousand held polls receive each change once and in order; the metrics of every service agree.

ROOTS_TEST_CHANGES is how many changes these are: 100 000 deliveries take minutes on a small machine.
"""

import asyncio
import os

import pytest
from tests.testkit.deadlines import until

from roots_devstack.stack import Stack

from .http_client import HttpConnection
from .listener import Listener
from .metrics import scrape, value

CLIENTS = 1000
CHANGES = int(os.environ.get("ROOTS_TEST_CHANGES", "15"))


pytestmark = pytest.mark.usefixtures("many_files")


async def _listen_to_changes(stack: Stack, poll_url: str, prefix: str, description: str) -> list[Listener]:
    """Let CLIENTS clients hear CHANGES new tasks, and return them when all have heard all."""
    clients = [Listener(poll_url, stack.url, prefix=prefix) for _ in range(CLIENTS)]
    slots = asyncio.Semaphore(50)

    async def begin(client: Listener) -> None:
        async with slots:
            await client.begin(["tasks"])

    async with asyncio.TaskGroup() as group:
        for client in clients:
            await client.__aenter__()
            group.create_task(begin(client))

    def has_heard_all(client: Listener) -> bool:
        return len(client.messages()) >= CHANGES

    async def write() -> None:
        async with HttpConnection(stack.url) as api:
            for number in range(CHANGES):
                answer = await api.request("POST", "/tasks", {"description": f"{description} {number}"})
                assert answer.status == 201

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.poll_until(lambda client=client: has_heard_all(client), seconds=90))  # type: ignore[misc]
        group.create_task(write())
    for client in clients:
        await client.__aexit__()
    return clients


def _assert_each_heard_once_in_order(clients: list[Listener], description: str) -> None:
    expected = [f"{description} {number}" for number in range(CHANGES)]
    for client in clients:
        assert expected == [message["description"] for message in client.messages()]
        assert client.gaps == []
        assert len(client.uids) == 1


@pytest.mark.timeout(180)
async def test_thousand_polls_hear_each_change_once_in_order_when_held_on_one_replica(stack: Stack) -> None:
    """I1, I2: one replica, asked directly; afterwards the metrics of each service have the counts to match."""
    replica = stack.processes["longpoll-1"]
    assert replica.url is not None
    assert replica.admin_url is not None
    before = scrape(replica.admin_url)
    tasks = stack.processes["tasks"].admin_url or ""
    created_labels = {"method": "POST", "route": "/tasks", "status": "201"}
    created_before = value(tasks, "roots_tasks_http_requests_total", **created_labels)

    clients = await _listen_to_changes(stack, replica.url, "", "direct")

    _assert_each_heard_once_in_order(clients, "direct")
    after = scrape(replica.admin_url)

    def grown(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return after[key] - before.get(key, 0.0)

    assert grown("roots_longpoll_events_total") == CHANGES
    assert grown("roots_longpoll_deliveries_total") == CLIENTS * CHANGES
    # A client that was between two polls finds the change when it comes.
    pushed, found = (grown(f"roots_longpoll_{name}_seconds_count") for name in ("delivery", "catch_up"))
    assert pushed + found == CLIENTS * CHANGES
    assert grown("roots_longpoll_stage_seconds_count", stage="broker_to_replica") == CHANGES
    assert grown("roots_longpoll_stage_seconds_count", stage="replica_to_write") == pushed
    assert grown("roots_longpoll_uids_minted_total") == CLIENTS
    assert grown("roots_longpoll_hold_seconds_count", outcome="event") <= CLIENTS * CHANGES
    assert after[("roots_longpoll_polls_held", ())] == 0
    assert value(tasks, "roots_tasks_http_requests_total", **created_labels) - created_before == CHANGES
    relay = stack.processes["relay"].admin_url or ""
    await until(lambda: value(relay, "roots_tasks_outbox_pending") == 0)


@pytest.mark.timeout(180)
async def test_thousand_polls_hear_each_change_once_in_order_when_two_replicas_share_them(stack: Stack) -> None:
    """I1, I2, I6: through the gateway, which spreads the polls of each client over both replicas."""
    replicas = [stack.processes[name].admin_url or "" for name in ("longpoll-1", "longpoll-2")]
    before = [value(url, "roots_longpoll_deliveries_total") for url in replicas]

    clients = await _listen_to_changes(stack, stack.url, "/comet", "shared")

    _assert_each_heard_once_in_order(clients, "shared")
    grown = [value(url, "roots_longpoll_deliveries_total") - old for url, old in zip(replicas, before, strict=True)]
    assert sum(grown) == CLIENTS * CHANGES
    assert min(grown) > 0
