"""Which parts a stack is made of, and how they are connected."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from roots_devstack import policy
from roots_devstack.processes import ports
from roots_devstack.processes.environment import unused
from roots_devstack.processes.supervision import Sink, Watch, discard
from roots_devstack.processes.waiting import Part
from roots_devstack.servers.broker import Broker, Nodes
from roots_devstack.servers.gateway import Gateway
from roots_devstack.servers.healing import Healing
from roots_devstack.servers.postgres import Postgres
from roots_devstack.services import Service, Wiring
from roots_devstack.web import Web


@dataclass(frozen=True, slots=True, kw_only=True)
class StackConfig:
    """What a stack is made of.

    Shape: a port that is 0 is any free one; the replicas of longpoll have `longpoll_port` and the ports after it,
        and the servers of NATS `nats_port` and those after it. `extra_env` is taken as if the user had set it in the
        environment: what the stack chooses itself, as ports and addresses, wins over both.
    """

    home: Path
    port: int = 0
    longpoll_replicas: int = 1
    nats_nodes: Nodes = 1
    extra_env: Mapping[str, str] = field(default_factory=dict)
    sink: Sink = discard
    postgres_port: int = 0
    nats_port: int = 0
    tasks_port: int = 0
    subscriptions_port: int = 0
    backend_api_port: int = 0
    longpoll_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Every part of one stack."""

    postgres: Postgres
    broker: Broker
    web: Web
    gateway: Gateway
    tasks: Service
    relay: Service
    subscriptions: Service
    longpolls: list[Service]
    healing: Healing
    wiring: Wiring
    backend_api_url: str

    @classmethod
    def create(cls, config: StackConfig, watch: Watch) -> "Parts":
        """Choose the ports and connect the parts; nothing is started. Errors: DevstackError when a port is taken."""
        port = ports.claim(config.port, "ROOTS_PORT")
        postgres = Postgres(config.home, port=ports.claim(config.postgres_port, "ROOTS_POSTGRES_PORT"), watch=watch)
        nats_ports = _claim_row(config.nats_port, config.nats_nodes, "ROOTS_NATS_PORT")
        broker = Broker(config.home, nodes=config.nats_nodes, node_ports=nats_ports, watch=watch)
        wiring = Wiring(home=config.home, postgres=postgres, broker=broker, extra_env=config.extra_env)
        tasks_port = ports.claim(config.tasks_port, "ROOTS_TASKS_PORT")
        subscriptions_port = ports.claim(config.subscriptions_port, "ROOTS_SUBSCRIPTIONS_PORT")
        backend_api_port = ports.claim(config.backend_api_port, "ROOTS_BACKEND_API_PORT")
        longpoll_ports = _claim_row(config.longpoll_port, config.longpoll_replicas, "ROOTS_LONGPOLL_PORT")
        web = Web(config.home, sink=watch.sink)
        gateway = Gateway(
            config.home,
            port=port,
            tasks=f"{ports.HOST}:{tasks_port}",
            subscriptions=f"{ports.HOST}:{subscriptions_port}",
            longpolls=[f"{ports.HOST}:{port}" for port in longpoll_ports],
            extra_env=config.extra_env,
            watch=watch,
        )
        policy_env = policy.settings(config.home, config.extra_env)
        backend_api_env = {"ROOTS_BACKEND_API_HOST": ports.HOST, "ROOTS_BACKEND_API_PORT": str(backend_api_port)}
        tasks_env = wiring.env("tasks", policy_env, has_database=True)
        return cls(
            postgres=postgres,
            broker=broker,
            web=web,
            gateway=gateway,
            tasks=Service(
                "tasks",
                "roots_tasks",
                "serve",
                http_port=tasks_port,
                env=tasks_env | {"ROOTS_WEB": str(web.folder)},
                watch=watch,
            ),
            relay=Service("relay", "roots_tasks", "relay", http_port=None, env=tasks_env, watch=watch),
            subscriptions=Service(
                "subscriptions",
                "roots_subscriptions",
                http_port=subscriptions_port,
                env=wiring.env("subscriptions", policy_env | backend_api_env, has_uid_key=True),
                watch=watch,
            ),
            longpolls=[
                Service(
                    f"longpoll-{number}",
                    "roots_longpoll",
                    http_port=port,
                    env=wiring.env("longpoll", has_uid_key=True),
                    watch=watch,
                )
                for number, port in enumerate(longpoll_ports, start=1)
            ],
            healing=Healing(broker.servers, watch),
            wiring=wiring,
            backend_api_url=f"http://{ports.HOST}:{backend_api_port}",
        )

    def unused_settings(self) -> list[str]:
        """Return which variables of the user the stack does not use, since it chooses that itself."""
        parts: list[Part] = [self.gateway, self.tasks, self.relay, self.subscriptions, *self.longpolls]
        environments = [*(part.process.program.env for part in parts), self.wiring.provision().env]
        # The back-end API's port is the user's choice: the environment of subscriptions has the one that 0 became.
        return [name for name in unused(self.wiring.extra_env, environments) if name != "ROOTS_BACKEND_API_PORT"]

    def all(self) -> list[Part]:
        """Return every part, what others depend on first."""
        return [
            self.postgres,
            *self.broker.servers,
            self.gateway,
            self.tasks,
            self.relay,
            self.subscriptions,
            *self.longpolls,
        ]


def _claim_row(first: int, count: int, variable: str) -> list[int]:
    """Return the port `first` and those after it, or any free ones when it is 0. Errors: DevstackError."""
    return [ports.claim(first and first + number, variable) for number in range(count)]
