"""NATS as the pods run it: real servers with the arguments, variables and files that kustomize builds."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.testkit.deadlines import until, within

from roots.contracts.subjects import EVENTS_STREAM
from roots.nats import broker
from roots.nats.provision import ProvisionConfig, provision
from roots.runtime.config import load
from roots_devstack.processes import ports, probes
from roots_longpoll.config import Config as LongpollConfig

from .conftest import Build
from .laid_out import laid_out_env
from .manifests import Manifests
from .programs import CONFIGS, DEPLOY

DEADLINE_SECONDS = 30.0
BIN = Path(sys.executable).parent
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The ports that one pod has here."""

    client: int
    monitor: int
    route: int


@contextlib.asynccontextmanager
async def running(manifests: Manifests, folder: Path) -> AsyncIterator[list[Server]]:
    """Run every NATS pod as a process of this machine, by the script that the image starts with."""
    nats = manifests.workload("nats")
    count = nats.spec.get("replicas", 1)
    servers = [Server(**{name: ports.reserve() for name in ("client", "monitor", "route")}) for _ in range(count)]
    processes = []
    with laid_out_env(manifests, nats) as laid_out:
        try:
            for number, server in enumerate(servers):
                arguments = _moved(
                    nats.main["args"],
                    {
                        "/etc/nats/": f"{DEPLOY}/nats/",
                        "0.0.0.0": ports.HOST,  # noqa: S104  # it is what is replaced
                        "4222": str(server.client),
                        "8222": str(server.monitor),
                        "/data": str(folder / str(number)),
                    },
                )
                peers = {f"nats-{peer}.nats-peers:6222": f"localhost:{one.route}" for peer, one in enumerate(servers)}
                env = dict(
                    zip(
                        laid_out,
                        _moved(laid_out.values(), peers | {"0.0.0.0:6222": f"{ports.HOST}:{server.route}"}),
                        strict=True,
                    )
                )
                env |= {"ROOTS_NATS_NAME": f"nats-{number}", "PATH": f"{BIN}:{os.environ['PATH']}"}
                processes.append(
                    await asyncio.create_subprocess_exec(
                        *("/bin/sh", str(DEPLOY / "nats/start.sh"), *arguments),
                        env=env,
                        stderr=asyncio.subprocess.DEVNULL,
                    )
                )
            yield servers
        finally:
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            await asyncio.gather(*(process.wait() for process in processes))


def _moved(texts: Iterable[str], here: dict[str, str]) -> list[str]:
    pattern = re.compile("|".join(map(re.escape, here)))
    return [pattern.sub(lambda found: here[found[0]], text) for text in texts]


async def until_probed(manifests: Manifests, servers: list[Server], folder: Path) -> None:
    """Return once every server answers each of its pod's probes as the kubelet wants it."""
    for number, server in enumerate(servers):
        for probe in PROBES:
            asked = manifests.workload("nats").main[probe]
            data = folder / str(number)
            await until(lambda asked=asked, server=server, data=data: _holds(asked, server, data), DEADLINE_SECONDS)  # type: ignore[misc]


async def _holds(probe: dict[str, Any], server: Server, data: Path) -> bool:
    if "httpGet" in probe:
        return await _is_ok(f"http://{ports.HOST}:{server.monitor}{probe['httpGet']['path']}")
    here = {"/etc/nats/": f"{DEPLOY}/nats/", ":8222": f":{server.monitor}", "/data": str(data)}
    process = await asyncio.create_subprocess_exec(*_moved(probe["exec"]["command"], here))
    return await process.wait() == 0


async def _is_ok(url: str) -> bool:
    answer = await probes.get(url)
    return answer is not None and answer.status == probes.OK


@pytest.mark.parametrize("overlay", ["overlay-dev", "overlay-production"])
async def test_pods_serve_every_user_when_run_as_processes(build: Build, tmp_path: Path, overlay: str) -> None:
    """The servers find each other and meet their probes, the job provisions, each service gets in with its secret."""
    manifests = build(overlay)
    async with running(manifests, tmp_path) as servers:
        await until_probed(manifests, servers, tmp_path)
        scheme = "tls" if overlay == "overlay-production" else "nats"
        url = ",".join(f"{scheme}://localhost:{server.client}" for server in servers)
        with laid_out_env(manifests, manifests.workload("provision")) as env:
            config = replace(load(ProvisionConfig, env), url=url)
            await provision(config, deadline_seconds=DEADLINE_SECONDS)
            client = await broker.connect(config)
            stream = await client.jetstream().stream_info(EVENTS_STREAM)
            await client.close()

        assert len(servers) == stream.config.num_replicas
        assert len(servers) - 1 == len((stream.cluster and stream.cluster.replicas) or [])
        for name in ("relay", "subscriptions", "longpoll"):
            await _get_in(manifests, name, url)


async def _get_in(manifests: Manifests, name: str, url: str) -> None:
    workload = manifests.workload(name)
    with laid_out_env(manifests, workload) as env:
        config: object = load(CONFIGS[tuple(workload.main["command"])], env)
        assert isinstance(config, broker.BrokerConfig)
        for identity in [config, config.live] if isinstance(config, LongpollConfig) else [config]:
            async with within(DEADLINE_SECONDS):
                client = await broker.connect(replace(identity, url=url))
            await client.flush()
            await client.close()
