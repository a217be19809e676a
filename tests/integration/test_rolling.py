"""A rolling restart of all replicas under held polls: no error, no lost event, no rush."""

import asyncio
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import until

from roots_devstack.stack import Stack, StackConfig

from .http_client import HttpConnection
from .listener import Listener

POLLS = int(os.environ.get("ROOTS_TEST_POLLS", "300"))
"""3,000 for the figures in docs/reliability.md."""

REPLICAS = ["longpoll-1", "longpoll-2", "longpoll-3"]
DRAIN_SECONDS = 6
# An event sends everyone back at once, so changes are made in one drain, and the spread is measured in the others.
EVENTFUL = "longpoll-2"
WRITE_PAUSE_SECONDS = 0.5
# All at once would be 1.0, half of them within one of seven seconds 0.4.
MOST_UNEVEN = 0.25


@pytest.fixture
def rolling(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield a system with three replicas that drain for some seconds, and room for all connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config = StackConfig(
        home=tmp_path_factory.mktemp("rolling"),
        longpoll_replicas=len(REPLICAS),
        extra_env={"ROOTS_DRAIN_SECONDS": str(DRAIN_SECONDS)},
    )
    with background.entered(Stack(config)) as running:
        yield running


class Crowd:
    """Clients that poll through the gateway until they are told to stop, as Pomona does."""

    def __init__(self, stack: Stack) -> None:
        self.clients = [Listener(stack.url, stack.url, prefix="/comet") for _ in range(POLLS)]
        self.sent_away: dict[str, list[float]] = {name: [] for name in REPLICAS}
        """For each replica's drain, when each client that it sent away came back, monotonic seconds."""
        self.draining = REPLICAS[0]
        self.is_over = False

    def has_heard(self, count: int) -> bool:
        """Tell whether every client has heard so many changes."""
        return all(len(client.messages()) >= count for client in self.clients)

    async def run(self) -> AsyncIterator[None]:
        """Connect all, yield once, and poll until `is_over`."""
        slots = asyncio.Semaphore(50)

        async def live(client: Listener) -> None:
            async with client:
                async with slots:
                    await client.begin(["tasks"])
                connected.release()
                while not self.is_over:
                    answer = await client.poll()
                    if "retry" in answer:
                        await asyncio.sleep(answer["retry"] / 1000)
                        self.sent_away[self.draining].append(time.monotonic())

        connected = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(live(client))
            for _ in self.clients:
                await connected.acquire()
            yield


async def write_until(stack: Stack, ended: asyncio.Event) -> list[str]:
    """Add a task now and then until `ended`; return the descriptions in order."""
    written: list[str] = []
    async with HttpConnection(stack.url) as api:
        while not ended.is_set():
            description = f"rolling {len(written)}"
            assert (await api.request("POST", "/tasks", {"description": description})).status == 201
            written.append(description)
            await asyncio.sleep(WRITE_PAUSE_SECONDS)
    return written


async def restart(stack: Stack, background: LoopThread, name: str) -> None:
    """SIGTERM a replica, and return when another process is ready in its place."""
    before = stack.processes[name].pid
    await asyncio.to_thread(background.run, faults.kill(stack, name, signal.SIGTERM))
    await until(lambda: stack.processes[name].pid not in {before, None}, DRAIN_SECONDS + 20)
    await asyncio.to_thread(background.run, stack.wait_ready())


async def restart_in_turn(stack: Stack, background: LoopThread, crowd: Crowd) -> list[str]:
    """Restart each replica; return the descriptions of the tasks that were added meanwhile."""
    written: list[str] = []
    for name in REPLICAS:
        crowd.draining = name
        ended = asyncio.Event()
        writing = asyncio.create_task(write_until(stack, ended)) if name == EVENTFUL else None
        await restart(stack, background, name)
        ended.set()
        if writing is not None:
            written = await writing
    return written


def unevenness(times: list[float]) -> float:
    """Return how far the share that has come is from the share of time that has gone, at most; 1.0 is all at once.

    A machine that stands still for a second moves what comes in it, but not much of the whole: counts of single seconds
    would tell of the machine.
    """
    times = sorted(times)
    length = times[-1] - times[0]
    gone = [(moment - times[0]) / length for moment in times]
    return max(abs(share - (place + 1) / len(times)) for place, share in enumerate(gone))


@pytest.mark.timeout(300)
async def test_clients_see_no_error_and_lose_nothing_when_replicas_restart_in_turn(
    rolling: Stack, background: LoopThread
) -> None:
    """I8, I6, I1: each answer is a 200, each change is heard once and in order, and the re-polls are spread."""
    crowd = Crowd(rolling)
    async for _ in crowd.run():
        written = await restart_in_turn(rolling, background, crowd)
        await until(partial(crowd.has_heard, len(written)), 60)
        crowd.is_over = True
        # One more change ends the polls that are held.
        async with HttpConnection(rolling.url) as api:
            await api.request("POST", "/tasks", {"description": "over"})

        for client in crowd.clients:
            heard = [message["description"] for message in client.messages()]
            assert written == heard[: len(written)]
            assert client.gaps == []
            assert len(client.uids) == 1
    spreads = [(len(times), unevenness(times)) for name, times in crowd.sent_away.items() if name != EVENTFUL]
    print("re-polls, unevenness:", spreads)  # noqa: T201  # a figure
    assert all(count >= POLLS / 4 for count, _ in spreads)
    assert all(uneven <= MOST_UNEVEN for _, uneven in spreads)
