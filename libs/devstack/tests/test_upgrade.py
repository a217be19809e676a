"""Streams that were stored before there were accounts: they go on as those of the account that owns them now."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from tests.testkit.deadlines import within

from roots.contracts.subjects import EVENTS_STREAM, GRANTS_PREFIX, GRANTS_STREAM, JETSTREAM_API
from roots_devstack.processes.programs import checkout_path, venv_path
from roots_devstack.servers.broker import Broker

from .places import Place, shared_account

DEADLINE_SECONDS = 20.0
EVENT = "roots.events.tasks"


async def stored(client: Client) -> dict[str, Any]:
    """Return the streams as the user `provision` reads them: when each began, where it is, and what it has."""
    streams = {}
    for name in (EVENTS_STREAM, GRANTS_STREAM):
        info = await client.jetstream().stream_info(name)
        found = [await client.jetstream().get_msg(name, seq) for seq in range(1, info.state.last_seq + 1)]
        streams[name] = (str(info.created), info.state.last_seq, [(one.subject, one.data) for one in found])
    return streams


async def fill(place: Place) -> dict[str, Any]:
    """Store events and a grant; return what is there then."""
    await place.provision()
    async with place.connected("tasks") as client:
        for number in range(3):
            await client.jetstream().publish(EVENT, b"%d" % number)
    async with place.connected("subscriptions") as client:
        await client.jetstream().publish(f"{GRANTS_PREFIX}uid", b"{}")
    async with place.connected("provision") as client:
        return await stored(client)


async def started(store: Path) -> tuple[int | None, str]:
    """Start a server on `store` as a container does, without its variables; return its status and what it says."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", checkout_path("deploy/nats/start.sh"), "-c", "/dev/null/none", "-sd", store),
        env={"PATH": venv_path("nats-server")},
        stderr=asyncio.subprocess.PIPE,
    )
    async with within(DEADLINE_SECONDS):
        _, said = await process.communicate()
    return process.returncode, said.decode()


async def test_log_and_grants_go_on_when_the_store_is_from_before_accounts(tmp_path: Path) -> None:
    """I9: same events, same sequences, same time of creation, so every cursor stays good; and again after a restart."""
    async with shared_account(tmp_path) as place:
        before = await fill(place)
    async with Broker(tmp_path) as broker:
        await broker.provision()
        place = Place.of(broker, tmp_path, JETSTREAM_API)
        async with place.connected("provision") as client:
            assert before == await stored(client)
        await broker.stop()
        await broker.start()
        async with place.connected("tasks") as client:
            ack = await client.jetstream().publish(EVENT, b"next")
        assert before[EVENTS_STREAM][1] + 1 == ack.seq
    assert not (tmp_path / "nats/jetstream/$G/streams").exists()


async def test_server_does_not_start_when_both_accounts_have_streams(tmp_path: Path) -> None:
    """Neither log is dropped or hidden: a person has to say which one counts."""
    async with shared_account(tmp_path) as place:
        await fill(place)
    jetstream = tmp_path / "nats/jetstream"
    shutil.copytree(jetstream / "$G", jetstream / "ROOTS")

    status, said = await started(tmp_path / "nats")

    assert (1, True) == (status, "both have streams" in said)
    assert (jetstream / "$G/streams" / EVENTS_STREAM).exists()
    assert (jetstream / "ROOTS/streams" / EVENTS_STREAM).exists()


async def test_server_does_not_start_when_the_streams_are_a_clusters(tmp_path: Path) -> None:
    """A cluster has an account's name in its own log too, so that a folder with another name would be removed."""
    streams = tmp_path / "jetstream/$G/streams" / EVENTS_STREAM
    streams.mkdir(parents=True)
    (tmp_path / "jetstream/$SYS/_js_/_meta_").mkdir(parents=True)

    status, said = await started(tmp_path)

    assert (1, True) == (status, "operations.md" in said)
    assert streams.exists()
