"""One nats-server on loopback ports, alone or in a cluster, with the configuration that the containers use."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from roots_devstack.home import absolute
from roots_devstack.processes import ports, probes
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import bare
from roots_devstack.processes.programs import checkout_path, venv_path
from roots_devstack.processes.supervision import UNWATCHED, Process, Watch


def cluster_settings(count: int, password: str) -> list[dict[str, str]]:
    """Return the variables of deploy/nats/cluster.conf for each of `count` servers, with free ports."""
    addresses = [f"{ports.HOST}:{ports.reserve()}" for _ in range(count)]
    routes = msgspec.json.encode([f"nats-route://route:{password}@{address}" for address in addresses]).decode()
    shared = {"ROOTS_NATS_CLUSTER_PASSWORD": password, "ROOTS_NATS_CLUSTER_ROUTES": routes}
    return [{"ROOTS_NATS_CLUSTER_LISTEN": address, **shared} for address in addresses]


class NatsServer:
    """One nats-server; its data are in `home/{name}`."""

    def __init__(
        self,
        name: str,
        home: Path,
        *,
        port: int,
        passwords: Mapping[str, str],
        cluster: Mapping[str, str] | None = None,
        watch: Watch = UNWATCHED,
    ) -> None:
        self.name = name
        self.port = port
        self.folder = home.absolute() / name
        admin_port = ports.reserve()
        self.admin_url = f"http://{ports.HOST}:{admin_port}"
        settings = {"ROOTS_NATS_NAME": name, "PATH": venv_path("nats-server"), **passwords, **(cluster or {})}
        command = (
            *("/bin/sh", checkout_path("deploy/nats/start.sh")),
            *("-c", checkout_path(f"deploy/nats/{'nats' if cluster is None else 'cluster'}.conf")),
            *("-a", ports.HOST),
            *("-p", str(port)),
            *("-m", str(admin_port)),
            *("-sd", absolute(home) / name),
        )
        self.process = Process(Program(name=name, command=command, env=bare(settings)), watch)

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"nats://{ports.HOST}:{self.port}"

    async def unready_reason(self) -> str | None:
        """Return None once the server and its JetStream are up to date, also with its cluster, else what it lacks."""
        answer = await probes.get(f"{self.admin_url}/healthz")
        if answer is None:
            return f"it does not answer on port {self.port}"
        return None if answer.status == probes.OK else _error_of(answer.body)

    async def refuses_writes(self) -> bool:
        """Return whether the server is up and one of its streams is not healthy, as after a write that failed."""
        if await self.unready_reason() is None:
            return False
        answer = await probes.get(f"{self.admin_url}/healthz?js-server-only=true")
        return answer is not None and answer.status == probes.OK


class _Health(msgspec.Struct):
    error: str = "its JetStream is not up"


def _error_of(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Health).error
    except msgspec.MsgspecError:
        return _Health().error
