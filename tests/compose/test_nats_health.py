"""The health script of the NATS container, on a real server whose disk is filled and freed."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import nats.errors
import pytest
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched
from tests.testkit.small_disk import SmallDisk, why_not_mountable

from roots.contracts.subjects import subject_of
from roots.nats import broker
from roots.nats.broker import BrokerConfig
from roots_devstack.servers.broker import Broker

SCRIPT = Path(__file__).parents[2] / "deploy/nats/health.sh"


@pytest.fixture
def impatient(tmp_path: Path) -> Path:
    """Return the script with a server that may be restarted as soon as it has started."""
    text, count = re.subn(r"^MIN_SECONDS=.*$", "MIN_SECONDS=0", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert count == 1
    script = tmp_path / "health.sh"
    script.write_text(text, encoding="utf-8")
    return script


@pytest.fixture
def disk(tmp_path: Path, lacking: Callable[[str], NoReturn]) -> Iterator[SmallDisk]:
    """Yield the disk of the server."""
    reason = why_not_mountable(tmp_path / "trial")
    if reason is not None:
        # Root is expected to mount, anyone else is not.
        (lacking if os.geteuid() == 0 else pytest.skip)(reason)
    with SmallDisk(tmp_path / "nats", size_mib=32) as disk:
        yield disk


@pytest.fixture
def server(background: LoopThread, tmp_path: Path, disk: SmallDisk) -> Iterator[Broker]:
    """Yield a provisioned server on that disk."""
    assert disk is not None
    with background.entered(Broker(tmp_path)) as server:
        background.run(server.provision())
        yield server


def ask(script: Path, mode: str, server: Broker, folder: Path) -> int:
    """Run the script as the container does and return its status."""
    return run(script, mode, server, folder, server.servers[0].process.pid)


def run(script: Path, mode: str, server: Broker, folder: Path, pid: int | None) -> int:
    """Run the script for the process `pid` and return its status."""
    command = ["/bin/sh", str(script), mode, server.servers[0].admin_url, str(folder / "nats"), str(pid)]
    return subprocess.run(command, check=False, timeout=stretched(30)).returncode


async def publish(server: Broker, count: int) -> int:
    """Publish events of 20 KB, and return how many were acknowledged."""
    client = await broker.connect(BrokerConfig(url=server.url, user="tasks", password=server.password("tasks")))
    acknowledged = 0
    for _ in range(count):
        try:
            await client.jetstream().publish(subject_of("tasks"), bytes(20_000), timeout=1.0)
        except (nats.errors.Error, TimeoutError):
            break
        acknowledged += 1
    await client.close()
    return acknowledged


def test_server_is_left_alone_when_it_is_healthy(server: Broker, impatient: Path, tmp_path: Path) -> None:
    """A server that takes writes is alive and healthy."""
    assert [ask(impatient, mode, server, tmp_path) for mode in ("alive", "heal")] == [0, 0]


def test_server_is_ended_once_the_disk_has_room_when_a_write_has_failed(
    background: LoopThread, server: Broker, disk: SmallDisk, impatient: Path, tmp_path: Path
) -> None:
    """I11: while the disk is full it stays; with room it is ended, and what it acknowledged is there afterwards."""
    kept = background.run(publish(server, 20))
    pid = server.servers[0].process.pid
    assert pid is not None
    disk.fill()
    lost = background.run(publish(server, 1000))
    assert lost < 1000
    # Alive, since a restart would not help; and not healthy.
    assert [ask(impatient, mode, server, tmp_path) for mode in ("alive", "heal")] == [0, 1]
    assert server.servers[0].process.pid == pid

    disk.free()
    # Not so soon after its start, by the script as it is.
    assert [ask(SCRIPT, mode, server, tmp_path) for mode in ("alive", "heal")] == [0, 1]
    assert server.servers[0].process.pid == pid
    assert [ask(impatient, mode, server, tmp_path) for mode in ("alive", "heal")] == [1, 1]
    background.run(faults.wait_replaced(server.servers[0].process, pid))
    background.run(server.wait_ready())
    assert ask(impatient, "heal", server, tmp_path) == 0
    assert background.run(publish(server, 5)) == 5
    assert background.run(count_events(server)) == kept + lost + 5


async def count_events(server: Broker) -> int:
    """Return how many events the stream has."""
    config = server.provision_config()
    client = await broker.connect(config)
    state = (await client.jetstream().stream_info("ROOTS_EVENTS")).state
    await client.close()
    return state.messages


def test_server_is_left_alone_when_it_does_not_answer(
    background: LoopThread, server: Broker, impatient: Path, tmp_path: Path
) -> None:
    """A server that reads its store or waits for its peers is not healthy, and a restart would not help it."""
    background.run(faults.crash(server))
    # It would end this very process.
    assert run(impatient, "heal", server, tmp_path, os.getpid()) == 1
