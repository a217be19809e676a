"""What is measured: Roots, and the servers that it is compared with, each started for one measurement."""

import asyncio
import json
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nats.aio.client import Client as BrokerClient
from tests.testkit.background import LoopThread

from bench.crowd import NchanPoller, PlainPoller, Poller, RootsPoller
from bench.errors import LoadError, MissingPeerError
from bench.publishers import HttpPublisher, LinePublisher, Publisher, StreamPublisher
from bench.usage import children_of
from roots.contracts.subjects import GRANTS_PREFIX
from roots.contracts.uids import Uids
from roots.nats import broker
from roots.nats.broker import BrokerConfig
from roots_devstack.keys import Keys
from roots_devstack.processes import ports, probes
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import inherited
from roots_devstack.processes.programs import venv_program
from roots_devstack.processes.supervision import Process, run_once
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.broker import Broker, Nodes, User
from roots_devstack.services import Service

PEERS = Path(__file__).parent / "peers"
_NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
READY_SECONDS = 20.0
_GRANT_SECONDS = 3600.0
_LOOK_SECONDS = 0.05


class Target(ABC):
    """One server under load, running while it is entered.

    Shape: polls are served on `port`, events go through `publisher`. The CPU and memory of `pids` count; `beside` has
        processes that work for them too and are counted apart.
    """

    name: str

    def __init__(self) -> None:
        self.publisher: Publisher
        self._folder = tempfile.TemporaryDirectory(prefix="roots-bench-", ignore_cleanup_errors=True)
        self.home = Path(self._folder.name)
        self._thread = LoopThread()

    @property
    @abstractmethod
    def port(self) -> int:
        """Where polls are served."""

    @property
    @abstractmethod
    def pids(self) -> list[int]:
        """The processes that are measured."""

    @property
    def beside(self) -> Mapping[str, list[int]]:
        """Processes that work for the target and are measured apart."""
        return {}

    @abstractmethod
    async def pollers(self, path_sets: Sequence[tuple[str, ...]]) -> list[Poller]:
        """Return a poller for each set of paths, which may receive them."""

    @abstractmethod
    async def start(self) -> None:
        """Start the processes, on the thread that keeps them."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop the processes."""

    @abstractmethod
    async def connect_publisher(self) -> None:
        """Set `publisher`."""

    async def __aenter__(self) -> Self:
        self._thread.__enter__()
        try:
            await self.in_thread(self.start())
            await self.connect_publisher()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.in_thread(self.stop())
        self._thread.__exit__(None, None, None)
        self._folder.cleanup()

    async def in_thread(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` on the loop that supervises the processes."""
        await asyncio.to_thread(self._thread.run, work)


class Roots(Target):
    """Replicas of longpoll with the NATS that they need. Shape: `env` is added to the environment of the replicas."""

    name = "roots"

    def __init__(self, *, replicas: int = 1, nats_nodes: Nodes = 1, env: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.broker = Broker(self.home, nodes=nats_nodes)
        self.keys = Keys(self.home / "secrets")
        self._clients: list[BrokerClient] = []
        self._publisher: StreamPublisher | None = None
        settings = {
            "PYTHONUNBUFFERED": "1",
            "ROOTS_HTTP_HOST": ports.HOST,
            "ROOTS_NATS_URL": self.broker.url,
            "ROOTS_NATS_USER": "longpoll",
            "ROOTS_NATS_PASSWORD": self.broker.password("longpoll"),
            "ROOTS_UID_KEY": self.keys.get("uid-key"),
        }
        self.replicas = [
            Service(
                f"longpoll-{number}",
                "roots_longpoll",
                http_port=ports.reserve(),
                env=inherited(settings | dict(env or {})),
            )
            for number in range(1, replicas + 1)
        ]

    @property
    def port(self) -> int:
        """Where the first replica serves."""
        return self.port_of(0)

    @property
    def pids(self) -> list[int]:
        """The replicas."""
        return [pid for replica in self.replicas if (pid := replica.process.pid) is not None]

    @property
    def beside(self) -> Mapping[str, list[int]]:
        """The NATS servers."""
        return {"nats": [pid for server in self.broker.servers if (pid := server.process.pid) is not None]}

    def port_of(self, replica: int) -> int:
        """Return where one replica serves."""
        return int(str(self.replicas[replica].address).rpartition(":")[2])

    async def start(self) -> None:
        """Start NATS and the replicas."""
        await self.broker.start()
        await self.broker.provision()
        for replica in self.replicas:
            await replica.process.start()
        for replica in self.replicas:
            await until_ready(replica, seconds=READY_SECONDS)

    async def stop(self) -> None:
        """Kill the replicas, since nobody listens any more and a drain would only cost time; stop NATS."""
        for replica in self.replicas:
            await replica.process.crash()
        await self.broker.stop()

    async def connect_publisher(self) -> None:
        """Publish as the relay's user."""
        publisher = self._publisher = StreamPublisher(self._config_of("tasks"))
        await publisher.begin()
        self.publisher = publisher

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._publisher is not None:
            await self._publisher.close()
        for client in self._clients:
            await client.close()
        await super().__aexit__(kind, error, trace)

    async def pollers(self, path_sets: Sequence[tuple[str, ...]]) -> list[Poller]:
        """Mint uids, write their records as the subscriptions service does, and begin where the log ends."""
        host = b"127.0.0.1:%d" % self.port
        epoch_text, seq_text, _ = (await self._first_cursor()).split(".")
        epoch, seq = int(epoch_text, 36), int(seq_text, 36)
        uids = Uids(self.keys.get("uid-key").encode())
        js = (await self._connect("subscriptions")).jetstream(publish_async_max_pending=512)
        pollers: list[Poller] = []
        stored = []
        for paths in path_sets:
            uid = uids.mint()
            grants = {path: {"from": seq, "n": 1, "since": 1, "epoch": epoch} for path in paths}
            record = {"n": 1, "paths": grants, "gone": {}, "expires": time.time() + _GRANT_SECONDS}
            stored.append(await js.publish_async(f"{GRANTS_PREFIX}{uid}", json.dumps(record).encode(), wait_stall=10.0))
            pollers.append(RootsPoller(f"{uid}/{epoch_text}.{seq_text}.0".encode(), host))
        await asyncio.gather(*stored)
        return pollers

    async def kill(self, replica: int) -> None:
        """Kill one replica, and leave it dead."""
        await self.in_thread(self.replicas[replica].process.crash())

    async def revive(self, replica: int) -> None:
        """Start one replica again, and return once it is ready."""
        await self.in_thread(self._revive(self.replicas[replica]))

    async def _revive(self, replica: Service) -> None:
        await replica.process.start()
        await until_ready(replica, seconds=READY_SECONDS)

    async def _connect(self, user: User) -> BrokerClient:
        client = await broker.connect(self._config_of(user))
        self._clients.append(client)
        return client

    def _config_of(self, user: User) -> BrokerConfig:
        return BrokerConfig(url=self.broker.url, user=user, password=self.broker.password(user))

    async def _first_cursor(self) -> str:
        answer = await probes.get(f"http://127.0.0.1:{self.port_of(0)}/")
        if answer is None:
            raise LoadError("the replica does not answer")
        return str(json.loads(answer.body)["reconnectWith"]).partition("/")[2]


class _OneProgram(Target):
    """A peer that is one program, perhaps with workers."""

    has_workers = False

    def __init__(self) -> None:
        super().__init__()
        self._port = ports.reserve()
        self._process: Process | None = None

    @property
    def port(self) -> int:
        """Where it serves."""
        return self._port

    @property
    def pids(self) -> list[int]:
        """The workers when it has them, else the process."""
        pid = None if self._process is None else self._process.pid
        if pid is None:
            return []
        return children_of(pid) if self.has_workers else [pid]

    async def start(self) -> None:
        """Start it, and return once it takes connections."""
        command = await self.command()
        env = inherited({"PYTHONUNBUFFERED": "1"})
        self._process = Process(Program(name=self.name, command=command, env=env))
        await self._process.start()
        try:
            async with asyncio.timeout(READY_SECONDS):
                while ports.is_free(self._port):  # noqa: ASYNC110  # another process's doing
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError as error:
            raise LoadError("\n".join([f"{self.name} does not listen; it wrote:", *self._process.tail])) from error

    async def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            await self._process.stop()

    async def connect_publisher(self) -> None:
        """Publish by HTTP, on the port of the polls."""
        publisher = HttpPublisher(b"127.0.0.1:%d" % self._port)
        await asyncio.get_running_loop().create_connection(lambda: publisher, ports.HOST, self._port)
        self.publisher = publisher

    @abstractmethod
    async def command(self) -> tuple[str | Path, ...]:
        """Return the command that starts it. Errors: MissingPeerError."""


class Nchan(_OneProgram):
    """Nchan: nginx with its module, one worker, messages in memory."""

    name = "nchan"
    has_workers = True

    async def command(self) -> tuple[str | Path, ...]:
        """Write its configuration with the port of this run."""
        nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
        if nginx is None or not _NCHAN_MODULE.exists():  # noqa: ASYNC240  # nothing else runs yet
            raise MissingPeerError("nchan is not installed: apt-get install nginx-light libnginx-mod-nchan")
        text = (PEERS / "nchan.conf").read_text(encoding="utf-8").replace("@PORT@", str(self._port))
        config = self.home / "nginx.conf"
        config.write_text(text, encoding="utf-8")
        # The worker has another user.
        self.home.chmod(0o755)
        return (nginx, "-p", f"{self.home}/", "-c", config)

    async def pollers(self, path_sets: Sequence[tuple[str, ...]]) -> list[Poller]:
        """Return pollers of several channels in one request."""
        host = b"127.0.0.1:%d" % self._port
        return [NchanPoller(",".join(paths).encode(), host) for paths in path_sets]


class Floor(_OneProgram):
    """A C program that reads and writes, and does nothing else."""

    name = "floor"

    def __init__(self) -> None:
        super().__init__()
        self._publish_port = ports.reserve()

    async def command(self) -> tuple[str | Path, ...]:
        """Compile it."""
        compiler = shutil.which("cc")
        if compiler is None:
            raise MissingPeerError("floor needs a C compiler: apt-get install gcc libc6-dev")
        program = self.home / "floor"
        compile_it = (compiler, "-O2", "-Wall", "-Werror", "-o", program, PEERS / "floor.c")
        await run_once(Program(name="cc", command=compile_it, env=inherited({})), seconds=READY_SECONDS)
        return (program, str(self._port), str(self._publish_port))

    async def connect_publisher(self) -> None:
        """Publish by lines, on a port of their own."""
        publisher = LinePublisher()
        await asyncio.get_running_loop().create_connection(lambda: publisher, ports.HOST, self._publish_port)
        self.publisher = publisher

    async def pollers(self, path_sets: Sequence[tuple[str, ...]]) -> list[Poller]:
        """Return pollers of the only path there is."""
        return [PlainPoller(paths[0].encode(), b"127.0.0.1:%d" % self._port) for paths in path_sets]


class Granian(_OneProgram):
    """The naive design on an asynchronous server: Falcon on granian, an awaiting task for each poll."""

    name = "granian"
    has_workers = True

    async def command(self) -> tuple[str | Path, ...]:
        """Run it with one worker."""
        app = "bench.peers.task_per_poll:app"
        return (
            *(venv_program("granian"), "--interface", "asgi", "--workers", "1", "--loop", "uvloop", "--no-ws"),
            *("--log-level", "error", "--host", ports.HOST, "--port", str(self._port), "--backlog", "16384", app),
        )

    async def pollers(self, path_sets: Sequence[tuple[str, ...]]) -> list[Poller]:
        """Return pollers of one path each."""
        return [PlainPoller(paths[0].encode(), b"127.0.0.1:%d" % self._port) for paths in path_sets]


class Waitress(_OneProgram):
    """The naive design on a threaded server: Falcon on waitress, a waiting thread for each poll."""

    name = "waitress"

    async def command(self) -> tuple[str | Path, ...]:
        """Run it."""
        return (venv_program("python"), "-m", "bench.peers.thread_per_poll", str(self._port))

    async def pollers(self, path_sets: Sequence[tuple[str, ...]]) -> list[Poller]:
        """Return pollers of one path each."""
        return [PlainPoller(paths[0].encode(), b"127.0.0.1:%d" % self._port) for paths in path_sets]
