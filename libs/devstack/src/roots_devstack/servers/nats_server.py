"""One nats-server on loopback ports, alone or in a cluster, with the configuration that the containers use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from roots_devstack.home import absolute
from roots_devstack.processes import ports, probes
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import bare
from roots_devstack.processes.programs import checkout_path, venv_path
from roots_devstack.processes.supervision import UNWATCHED, Process, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A server's place in a cluster. Shape: `ports` are the cluster ports of all servers, this one's among them."""

    port: int
    ports: tuple[int, ...]
    password: str

    def settings(self) -> dict[str, str]:
        """Return the variables of deploy/nats/cluster.conf."""
        routes = [f"nats-route://route:{self.password}@{ports.HOST}:{port}" for port in self.ports]
        return {
            "ROOTS_NATS_CLUSTER_LISTEN": f"{ports.HOST}:{self.port}",
            "ROOTS_NATS_CLUSTER_PASSWORD": self.password,
            "ROOTS_NATS_CLUSTER_ROUTES": msgspec.json.encode(routes).decode(),
        }

    @classmethod
    def of_each(cls, count: int, password: str) -> Sequence[Self]:
        """Return the places of `count` servers, with free ports."""
        cluster_ports = tuple(ports.reserve() for _ in range(count))
        return [cls(port=port, ports=cluster_ports, password=password) for port in cluster_ports]


class NatsServer:
    """One nats-server; its data are in `home/{name}`."""

    def __init__(
        self,
        name: str,
        home: Path,
        *,
        port: int,
        passwords: Mapping[str, str],
        membership: Membership | None = None,
        watch: Watch = UNWATCHED,
    ) -> None:
        self.name = name
        self.port = port
        self.folder = home.absolute() / name
        admin_port = ports.reserve()
        self.admin_url = f"http://{ports.HOST}:{admin_port}"
        settings = {"ROOTS_NATS_NAME": name, "PATH": venv_path("nats-server")} | dict(passwords)
        if membership is not None:
            settings |= membership.settings()
        command = (
            *("/bin/sh", checkout_path("deploy/nats/start.sh")),
            *("-c", checkout_path(f"deploy/nats/{'nats' if membership is None else 'cluster'}.conf")),
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
