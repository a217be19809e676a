"""A replica that has no file descriptor left still serves, and says so to its probes."""

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.testkit.deadlines import clock, until

from roots.runtime import descriptors
from roots_devstack.processes import ports, probes

from ..dispatcher_support import UID_KEY
from ..net_support import Around, Page, RawConnection

LIMIT = 160
PROBE_SECONDS = 1.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Process:
    """A replica as a process of its own, with few descriptors."""

    def __init__(self, around: Around, folder: Path) -> None:
        self.port, self.admin_port = ports.reserve(), ports.reserve()
        self._log = folder / "longpoll.log"
        env = {
            "PATH": os.environ["PATH"],
            "ROOTS_HTTP_PORT": str(self.port),
            "ROOTS_ADMIN_PORT": str(self.admin_port),
            "ROOTS_NATS_URL": around.server.url,
            "ROOTS_NATS_PASSWORD": around.server.password("longpoll"),
            "ROOTS_UID_KEY": UID_KEY.decode(),
            "ROOTS_DRAIN_SECONDS": "0.1",
            "ROOTS_DRAIN_LINGER_SECONDS": "0",
        }
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))"
        program = f"{limit}; import runpy; runpy.run_module('roots_longpoll', run_name='__main__')"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-c", program], env=env, stdout=log, stderr=log)

    @property
    def open_files(self) -> int:
        """How many descriptors it has."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))  # noqa: PTH208  # a count

    @property
    def cpu_seconds(self) -> float:
        """How much time it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def events(self, name: str) -> int:
        """Return how often it logged an event."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return sum(json.loads(line)["event"] == name for line in lines)

    def allow(self, files: int) -> None:
        """Set the limit of a process that runs."""
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (files, LIMIT))

    async def status(self, probe: str) -> int | None:
        """Return the status of a probe, None when it does not answer in time."""
        began = clock()
        answer = await probes.get(f"http://127.0.0.1:{self.admin_port}{probe}")
        return None if answer is None or clock() - began > PROBE_SECONDS else answer.status

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
async def process(around: Around, tmp_path: Path) -> AsyncIterator[Process]:
    """Yield a ready replica with few descriptors."""
    process = Process(around, tmp_path)
    while await process.status("/readyz") != 200:  # noqa: ASYNC110  # another process has no event to wait for
        await asyncio.sleep(0.05)
    yield process
    process.stop()


async def listening(around: Around, port: int, path: str) -> Page:
    """Return a client that is connected to `path`, and polls."""
    wire = await RawConnection.open(port)
    page = Page(wire, (await wire.ask("/")).answer)
    await around.connect(page.uid, path)
    assert [(path, "")] == (await page.poll()).updates
    await page.hold()
    return page


async def crowd(port: int, count: int) -> list[RawConnection]:
    """Connect so often, whatever becomes of it."""
    wires = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            wires.append(await RawConnection.open(port))
    return wires


async def connect_until(stopped: asyncio.Event, port: int) -> None:
    """Connect, and close the oldest of many. A connect that has begun ends first: cancelled, it leaves its socket."""
    wires: deque[RawConnection] = deque()
    while not stopped.is_set():
        with contextlib.suppress(OSError):
            wires.append(await RawConnection.open(port))
        if len(wires) > 2 * LIMIT:
            await wires.popleft().close()
    for wire in wires:
        await wire.close()


@pytest.mark.parametrize("way", ["connections", "limit"])
async def test_replica_serves_and_answers_its_probes_when_descriptors_are_used_up(
    around: Around, process: Process, way: str
) -> None:
    """I7: neither too many clients nor a limit that was lowered takes the probes or the held polls away."""
    path = f"tests/{uuid.uuid4().hex}"
    page = await listening(around, process.port, path)
    if way == "limit":
        process.allow(process.open_files)
    wires = await crowd(process.port, 2 * LIMIT)
    cpu, began = process.cpu_seconds, time.monotonic()

    for _ in range(5):
        assert (200, 200) == (await process.status("/livez"), await process.status("/readyz"))
        assert await process.status("/metrics") == 200
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates
    while time.monotonic() - began < 2:
        assert await process.status("/livez") == 200
        await asyncio.sleep(0.1)

    assert process.cpu_seconds - cpu < 0.25 * (time.monotonic() - began)
    assert process.events("descriptors_used_up") <= 1
    assert (process.events("descriptors_used_up") == 1) == (way == "limit")

    process.allow(LIMIT)
    for wire in wires:
        await wire.close()
    await until(lambda: process.open_files < LIMIT / 2)
    late = await listening(around, process.port, path)
    await around.publish(path, "y")
    assert [(path, "y")] == (await late.receive()).updates


async def test_probes_are_answered_when_clients_go_on_connecting_without_a_descriptor(
    around: Around, process: Process
) -> None:
    """I7: no client takes the descriptors that are kept for the probes, and a held poll stays."""
    path = f"tests/{uuid.uuid4().hex}"
    page = await listening(around, process.port, path)
    process.allow(process.open_files)
    stopped = asyncio.Event()
    connecting = asyncio.create_task(connect_until(stopped, process.port))

    answers = [await process.status(probe) for _ in range(100) for probe in ("/livez", "/readyz", "/metrics")]

    process.allow(LIMIT)
    stopped.set()
    await connecting
    # A client may take the descriptor between its release and its use; a prober tries again.
    assert answers.count(200) >= 0.9 * len(answers)
    await around.publish(path, "x")
    assert [(path, "x")] == (await page.receive()).updates


def test_connections_leave_descriptors_when_the_limit_is_low(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are wanted, or what the limit allows; some in any case."""

    def within(limit: int) -> int:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
        return descriptors.connections_within(1000)

    assert [8, 50, 192, 960, 1000, 1000] == [within(limit) for limit in (10, 100, 256, 1024, 1064, 1 << 20)]
