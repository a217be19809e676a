"""The task service under load: alone, without its outbox, and with all that is between a write and who listens."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from bench.crowd import Poller, RootsPoller
from bench.errors import LoadError
from bench.targets import Roots, Target
from bench.usage import children_of
from bench.writes_rest import RestPublisher
from roots_devstack.processes import ports
from roots_devstack.processes.supervision import Process, run_once
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.broker import Broker
from roots_devstack.servers.gateway import Gateway
from roots_devstack.servers.postgres import Postgres
from roots_devstack.services import Service, Wiring

_READY_SECONDS = 30.0
_EMPTY_SECONDS = 30.0
_LOOK_SECONDS = 0.01


class TaskService:
    """`serve` and, if it has one, the relay, with a Postgres of their own. The NATS of `broker` is the caller's."""

    def __init__(self, home: Path, broker: Broker, *, module: str = "roots_tasks", has_relay: bool = True) -> None:
        self.port = ports.reserve()
        self._postgres = Postgres(home)
        self._wiring = Wiring(home=home, postgres=self._postgres, broker=broker, extra_env={})
        env = self._wiring.env("tasks", has_database=True)
        self._serve = Service("tasks", module, "serve", http_port=self.port, env=env)
        self._relay = Service("relay", "roots_tasks", "relay", http_port=None, env=env) if has_relay else None
        self._watcher: psycopg.Connection | None = None

    @property
    def pids(self) -> list[int]:
        """The process that answers requests."""
        return _pids(self._serve.process)

    @property
    def beside(self) -> Mapping[str, list[int]]:
        """The processes that it works with."""
        postmaster = _pids(self._postgres.process)
        beside = {"postgres": postmaster + [child for pid in postmaster for child in children_of(pid)]}
        return beside | {"relay": _pids(self._relay.process)} if self._relay else beside

    async def start(self) -> None:
        """Start everything. Errors: DevstackError."""
        await self._postgres.start()
        await run_once(self._wiring.migrate(), seconds=_READY_SECONDS)
        for service in (self._serve, self._relay):
            if service is not None:
                await service.process.start()
                await until_ready(service, seconds=_READY_SECONDS)
        # Kept open: a session that ends while CPU times are read would be a process that has gone.
        self._watcher = psycopg.connect(self._postgres.url, autocommit=True)

    async def stop(self) -> None:
        """Stop everything."""
        if self._watcher is not None:
            self._watcher.close()
        for service in (self._serve, self._relay):
            if service is not None:
                await service.process.stop()
        await self._postgres.stop()

    async def emptied(self) -> None:
        """Return once the outbox is empty. Errors: TimeoutError."""
        async with asyncio.timeout(_EMPTY_SECONDS):
            # Polled: no event reports that it is empty.
            while self._has_events():  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)

    def _has_events(self) -> bool:
        if self._watcher is None:
            raise LoadError("the task service does not run")
        return self._watcher.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is not None


class Tasks(Target):
    """The whole task service, its events published while it is measured; nobody listens."""

    name = "tasks"

    def __init__(self) -> None:
        super().__init__()
        self._broker = Broker(self.home)
        self._service = self.compose(self.home, self._broker)

    @property
    def port(self) -> int:
        """Where `POST /tasks` is served."""
        return self._service.port

    @property
    def pids(self) -> list[int]:
        """The process that answers requests."""
        return self._service.pids

    @property
    def beside(self) -> Mapping[str, list[int]]:
        """Postgres, and what makes events of the outbox."""
        nats = [pid for server in self._broker.servers for pid in _pids(server.process)]
        return {**self._service.beside, **({"nats": nats} if nats else {})}

    def compose(self, home: Path, broker: Broker) -> TaskService:
        """Return the service that is measured."""
        return TaskService(home, broker)

    async def pollers(self, path_sets: Sequence[tuple[str, ...]]) -> list[Poller]:
        """Refuse. Errors: LoadError."""
        raise LoadError(f"nobody can listen at {self.name}, which was asked for {len(path_sets)} polls")

    async def start(self) -> None:
        """Start NATS, then the service."""
        await self._broker.start()
        await self._broker.provision()
        await self._service.start()

    async def stop(self) -> None:
        """Stop the service, then NATS."""
        await self._service.stop()
        await self._broker.stop()

    async def connect_publisher(self) -> None:
        """Post tasks."""
        publisher = RestPublisher()
        await publisher.begin(self.port)
        self.publisher = publisher

    async def emptied(self) -> None:
        """Return once every task is an event."""
        await self._service.emptied()


class TasksWithoutOutbox(Tasks):
    """The same service with the outbox cut out of it: bench/peers/tasks_without_outbox.py. It needs no NATS."""

    name = "tasks-without-outbox"

    def compose(self, home: Path, broker: Broker) -> TaskService:
        """Return the peer."""
        return TaskService(home, broker, module="bench.peers.tasks_without_outbox", has_relay=False)

    async def start(self) -> None:
        """Start the service."""
        await self._service.start()


class Writes(Roots):
    """All that is between a write and who listens: tasks, the relay, NATS, a replica of longpoll. No gateway."""

    name = "writes"

    def __init__(self) -> None:
        super().__init__()
        self._service = TaskService(self.home, self.broker)

    @property
    def beside(self) -> Mapping[str, list[int]]:
        """What the replica is fed by."""
        return {**super().beside, **self._service.beside, "tasks": self._service.pids}

    async def start(self) -> None:
        """Start NATS and the replica, then the task service."""
        await super().start()
        await self._service.start()

    async def stop(self) -> None:
        """Stop the task service first."""
        await self._service.stop()
        await super().stop()

    async def connect_publisher(self) -> None:
        """Post tasks."""
        publisher = RestPublisher()
        await publisher.begin(self._service.port)
        self.publisher = publisher


class WritesThroughGateway(Writes):
    """The same, with polls and posts through HAProxy."""

    name = "writes-gateway"

    def __init__(self) -> None:
        super().__init__()
        self._gateway = Gateway(
            self.home,
            port=ports.reserve(),
            tasks=f"{ports.HOST}:{self._service.port}",
            # Grants are written as the service would write them.
            subscriptions=f"{ports.HOST}:{ports.reserve()}",
            longpolls=[str(replica.address) for replica in self.replicas],
            # All of them have one address.
            extra_env={"ROOTS_GATEWAY_MAX_REQUESTS_PER_SECOND_PER_ADDRESS": "0"},
        )

    @property
    def port(self) -> int:
        """Where the gateway serves."""
        return self._gateway.port

    @property
    def beside(self) -> Mapping[str, list[int]]:
        """The gateway too."""
        return {**super().beside, "gateway": _pids(self._gateway.process)}

    async def start(self) -> None:
        """Start the gateway last."""
        await super().start()
        await self._gateway.start()
        await until_ready(self._gateway, seconds=_READY_SECONDS)

    async def stop(self) -> None:
        """Stop the gateway first."""
        await self._gateway.process.crash()
        await super().stop()

    async def connect_publisher(self) -> None:
        """Post tasks through the gateway."""
        publisher = RestPublisher()
        await publisher.begin(self.port)
        self.publisher = publisher

    async def pollers(self, path_sets: Sequence[tuple[str, ...]]) -> list[Poller]:
        """Return pollers that ask under the gateway's prefix."""
        host = b"127.0.0.1:%d" % self.port
        direct = await super().pollers(path_sets)
        return [_CometPoller(poller.request.split(b" ")[1][1:], host) for poller in direct]


class _CometPoller(RootsPoller):
    """Asks at `/comet/`, where the gateway has the polls."""

    __slots__ = ()

    def __init__(self, position: bytes, host: bytes) -> None:
        super().__init__(b"comet/" + position, host)

    def next_request(self, answer: bytes) -> bytes:
        """Return the poll at the answer's position."""
        request = super().next_request(answer)
        return request if request is self.request else request.replace(b"GET /", b"GET /comet/", 1)


def _pids(process: Process) -> list[int]:
    return [] if process.pid is None else [process.pid]
