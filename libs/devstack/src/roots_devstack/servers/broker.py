"""Real NATS with JetStream, one server or a cluster, on loopback ports.

`async with Broker(home) as broker` gives a server at `broker.url` whose users are those of deploy/nats/accounts.conf,
with the passwords `broker.password(user)`; `await broker.provision()` creates the stream and the bucket. `Broker(home,
nodes=3)` is the same with three servers: `broker.url` names them all, and what is provisioned has three replicas.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from roots.nats.provision import ProvisionConfig, provision
from roots_devstack.home import absolute
from roots_devstack.keys import Keys
from roots_devstack.processes import ports
from roots_devstack.processes.started import Started
from roots_devstack.processes.supervision import UNWATCHED, Watch
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.nats_server import NatsServer, cluster_settings

User = Literal["provision", "tasks", "subscriptions", "longpoll", "longpoll-live"]
PASSWORDS: Final = ("provision", "tasks", "subscriptions", "longpoll")
"""Whose passwords accounts.conf reads; the two users of longpoll have one."""
Nodes = Literal[1, 3]
"""How many servers: two would be no safer than one, since both would have to run for a majority."""

STOP_SECONDS = 3.0
_READY_SECONDS = 30.0


class Broker(Started):
    """One nats-server, `nats`, or a cluster of three, `nats-1` to `nats-3`.

    Shape: `port` is the first server's, the others have those after it; any free ones by default. `home` is the stack's
        folder: each server has its data in a folder with its name, the passwords are in `home/secrets`.
    """

    def __init__(
        self,
        home: Path,
        *,
        nodes: Nodes = 1,
        node_ports: Sequence[int] | None = None,
        watch: Watch = UNWATCHED,
    ) -> None:
        self._keys = Keys(absolute(home) / "secrets")
        passwords = {f"ROOTS_NATS_{name.upper()}_PASSWORD": self._keys.get(f"nats-{name}") for name in PASSWORDS}
        names = ["nats"] if nodes == 1 else [f"nats-{number}" for number in range(1, nodes + 1)]
        clusters = [None] if nodes == 1 else cluster_settings(nodes, self._keys.get("nats-cluster"))
        server_ports = [ports.reserve() for _ in names] if node_ports is None else node_ports
        self.servers = [
            NatsServer(name, home, port=port, passwords=passwords, cluster=cluster, watch=watch)
            for name, port, cluster in zip(names, server_ports, clusters, strict=True)
        ]

    @property
    def url(self) -> str:
        """Where the servers listen, separated by commas, as ROOTS_NATS_URL takes it."""
        return ",".join(server.url for server in self.servers)

    def password(self, user: User) -> str:
        """Return the password of one user of accounts.conf."""
        return self._keys.get(f"nats-{user.removesuffix('-live')}")

    def server(self, name: str) -> NatsServer:
        """Return one server by its name."""
        return next(server for server in self.servers if server.name == name)

    async def _start(self) -> None:
        await asyncio.gather(*(server.process.start() for server in self.servers))
        await self.wait_ready()

    async def stop(self) -> None:
        """Stop every server in order; what they have stored stays."""
        await asyncio.gather(*(server.process.stop(STOP_SECONDS) for server in self.servers))

    async def wait_ready(self) -> None:
        """Return once JetStream answers on every server. Errors: DevstackError."""
        await asyncio.gather(*(until_ready(server, seconds=_READY_SECONDS) for server in self.servers))

    def provision_config(self) -> ProvisionConfig:
        """Return what `roots.nats.provision` needs for these servers; `replace` sets other limits."""
        return ProvisionConfig(
            url=self.url, user="provision", password=self.password("provision"), replicas=len(self.servers)
        )

    async def provision(self, config: ProvisionConfig | None = None) -> None:
        """Create the stream and the bucket; by default with the limits that everyone has."""
        await provision(self.provision_config() if config is None else config)
