"""What tests do to the processes of a stack: kill, freeze and restart them, and find the one that leads a stream."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import msgspec
from tests.testkit.deadlines import until

from roots.contracts.subjects import EVENTS_STREAM
from roots_devstack.processes import probes
from roots_devstack.processes.supervision import Process
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.broker import Broker
from roots_devstack.stack import READY_SECONDS, Stack

REPLACED_SECONDS = 30.0
# Longer than any drain: only what hangs is killed.
STOP_SECONDS = 60.0
# A cluster elects within ten seconds; the rest is for a busy machine.
LEADER_SECONDS = 20.0


async def kill(stack: Stack, name: str, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process of `stack`; after `kill -9`, return once another one runs in its place."""
    process = stack.part(name).process
    pid = process.pid
    process.kill(number)
    if number is signal.SIGKILL and pid is not None:
        await wait_replaced(process, pid)


async def wait_replaced(process: Process, pid: int) -> None:
    """Return once the process `pid` is gone and another one runs in its place."""
    await until(lambda: process.pid not in (None, pid), REPLACED_SECONDS)


async def restart(stack: Stack, name: str) -> None:
    """Stop a process of `stack` in order, start it again, and return once it is ready."""
    part = stack.part(name)
    await part.process.stop(STOP_SECONDS)
    await part.process.start()
    await until_ready(part, seconds=READY_SECONDS)


async def crash(broker: Broker) -> None:
    """Kill every server as a power cut would; they stay dead until `start`."""
    await asyncio.gather(*(server.process.crash() for server in broker.servers))


def family(pid: int) -> list[int]:
    """Return the id of a process, and those of its children and theirs."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            children += map(int, (task / "children").read_text(encoding="ascii").split())
    return [pid, *(below for child in children for below in family(child))]


def send_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


async def leader_of(servers: Broker | Stack) -> str:
    """Return the name of the nats-server that leads the stream of events, once there is one. Errors: TimeoutError."""
    if isinstance(servers, Broker):
        admin_urls = {server.name: server.admin_url for server in servers.servers}
    else:
        processes = servers.processes.items()
        admin_urls = {name: str(process.admin_url) for name, process in processes if name.startswith("nats")}
    leaders: list[str] = []

    async def is_found() -> bool:
        claims = await asyncio.gather(*map(_is_leader, admin_urls.keys(), admin_urls.values()))
        leaders.extend(name for name, claim in zip(admin_urls, claims, strict=True) if claim)
        return bool(leaders)

    await until(is_found, LEADER_SECONDS)
    return leaders[0]


async def _is_leader(name: str, admin_url: str) -> bool:
    """Return whether this server leads the stream of events, as far as it knows itself."""
    answer = await probes.get(f"{admin_url}/jsz?streams=true")
    if answer is None or answer.status != probes.OK:
        return False
    return any(
        # A server without a cluster leads whatever it has.
        found.name == EVENTS_STREAM and (found.cluster is None or found.cluster.leader == name)
        for account in msgspec.json.decode(answer.body, type=_JetStream).account_details
        for found in account.stream_detail
    )


class _Cluster(msgspec.Struct):
    leader: str = ""


class _Stream(msgspec.Struct):
    name: str
    cluster: _Cluster | None = None


class _Account(msgspec.Struct):
    stream_detail: list[_Stream] = []


class _JetStream(msgspec.Struct):
    account_details: list[_Account] = []
