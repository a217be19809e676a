"""The disk of a store is filled and freed: nothing is lost that was acknowledged, and nobody has to repair anything."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import clock, until
from tests.testkit.small_disk import SmallDisk, why_not_mountable

from roots_devstack.processes import probes
from roots_devstack.stack import Stack, StackConfig

from .http_client import HttpConnection
from .listener import Listener

# Of a fault's end, until delivery is back without a person.
BACK_SECONDS = 10.0
# A full NATS is left alone for longer than it takes to start it again once there is room.
FULL_SECONDS = 8.0
NATS_MIB = 64
POSTGRES_MIB = 192


@pytest.fixture
def home(tmp_path: Path, lacking: Callable[[str], NoReturn]) -> Path:
    """Return the folder of a system of the test's own, where disks that can be filled are mounted."""
    reason = why_not_mountable(tmp_path / "trial")
    if reason is not None:
        # Root is expected to mount, anyone else is not.
        (lacking if os.geteuid() == 0 else pytest.skip)(reason)
    return tmp_path / "home"


@pytest.fixture
def nats_disk(home: Path) -> Iterator[SmallDisk]:
    """Yield the disk of NATS."""
    with SmallDisk(home / "nats", size_mib=NATS_MIB) as disk:
        yield disk


@pytest.fixture
def postgres_disk(home: Path) -> Iterator[SmallDisk]:
    """Yield the disk of Postgres."""
    with SmallDisk(home / "postgres", size_mib=POSTGRES_MIB) as disk:
        yield disk


@pytest.fixture
def small(background: LoopThread, home: Path, nats_disk: SmallDisk, postgres_disk: SmallDisk) -> Iterator[Stack]:
    """Yield a running system whose stores are on the small disks."""
    assert nats_disk is not postgres_disk
    with background.entered(Stack(StackConfig(home=home))) as running:
        yield running


def unready(stack: Stack, name: str, reason: str) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether a process is unready, with `reason`."""
    admin_url = stack.processes[name].admin_url
    assert admin_url is not None

    async def ask() -> bool:
        return reason in (await probes.unready_reason(admin_url) or "")

    return ask


def connects(stack: Stack, client: Listener, status: int) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether a connect is answered with `status`."""

    async def ask() -> bool:
        async with HttpConnection(stack.url) as api:
            return (await api.request("POST", f"/tasks/connect/{client.uid}", ["tasks"])).status == status

    return ask


async def create(stack: Stack, description: str) -> int:
    """Create a task and return the status."""
    async with HttpConnection(stack.url) as api:
        return (await api.request("POST", "/tasks", {"description": description})).status


@pytest.mark.timeout(180)
async def test_events_go_on_without_a_person_when_the_disk_of_nats_was_full(
    small: Stack, background: LoopThread, nats_disk: SmallDisk
) -> None:
    """I9, I11: a full NATS makes its clients unready and is not restarted; once it has room, all goes on in 10 s."""
    async with (
        Listener(small.url, small.url, prefix="/comet") as client,
        Listener(small.url, small.url, "/comet") as new,
    ):
        await client.begin(["tasks"])
        await new.poll()
        for number in range(20):
            assert await create(small, f"before {number}") == 201

        nats_disk.fill()
        # Some may still fit into what the server has allocated.
        during = [f"during {number}" for number in range(10)]
        for description in during:
            assert await create(small, description) == 201
        await until(unready(small, "relay", "no event was acknowledged for"), 20)
        await until(connects(small, new, 503), 20)
        await until(unready(small, "subscriptions", "no write to the bucket"), 20)
        pid = small.processes["nats"].pid
        await asyncio.sleep(FULL_SECONDS)
        assert small.processes["nats"].pid == pid
        assert await unready(small, "relay", "no event was acknowledged for")()
        assert await unready(small, "subscriptions", "no write to the bucket")()

        nats_disk.free()
        freed_at = clock()
        await client.poll_until(
            lambda: during[-1] in [message["description"] for message in client.messages()], BACK_SECONDS
        )
        await until(connects(small, new, 200), BACK_SECONDS - (clock() - freed_at))
        print(f"delivery was back after {clock() - freed_at:.1f} s")  # noqa: T201  # a figure
        await asyncio.to_thread(background.run, small.wait_ready(BACK_SECONDS))
        heard = [message["description"] for message in client.messages()]
        assert heard == [*(f"before {number}" for number in range(20)), *during]
        assert client.gaps == []
        assert len(client.uids) == 1


@pytest.mark.timeout(180)
async def test_writes_go_on_without_a_person_when_the_disk_of_postgres_was_full(
    small: Stack, background: LoopThread, postgres_disk: SmallDisk
) -> None:
    """I9, I11: a full Postgres refuses writes with 503, and takes them again within 10 s once it has room."""
    async with Listener(small.url, small.url, prefix="/comet") as client:
        await client.begin(["tasks"])
        assert await create(small, "before") == 201
        await client.poll_until(lambda: len(client.messages()) == 1)

        postgres_disk.fill()
        taken: list[str] = []

        async def is_refused() -> bool:
            description = f"{len(taken)} " + "x" * 1900
            status = await create(small, description)
            assert status in {201, 503}
            if status == 201:
                taken.append(description)
            return status == 503

        await until(is_refused, 60)

        postgres_disk.free()
        freed_at = clock()

        async def is_taken() -> bool:
            return await create(small, "after") == 201

        await until(is_taken, BACK_SECONDS)
        await client.poll_until(
            lambda: "after" in [message["description"] for message in client.messages()],
            BACK_SECONDS - (clock() - freed_at),
        )
        print(f"delivery was back after {clock() - freed_at:.1f} s")  # noqa: T201  # a figure
        heard = [message["description"] for message in client.messages()]
        # What was answered 503 may have been committed; what was answered 201 has been.
        assert [description for description in heard if description in {"before", "after", *taken}] == [
            "before",
            *taken,
            "after",
        ]
        assert client.gaps == []
        await asyncio.to_thread(background.run, small.wait_ready(BACK_SECONDS))
