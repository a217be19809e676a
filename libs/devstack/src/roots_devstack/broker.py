"""A real nats-server with JetStream on a loopback port, with the configuration that the containers use.

`async with Broker(home) as broker` gives a server at `broker.url` whose users are those of deploy/nats/nats.conf, with
the passwords `broker.password(user)`; `await broker.provision()` creates the stream and the bucket.
"""

from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from roots_common.provision import ProvisionConfig, provision
from roots_devstack import ports, probes
from roots_devstack.child import Program
from roots_devstack.environment import bare
from roots_devstack.keys import Keys
from roots_devstack.processes import UNWATCHED, Process, Watch
from roots_devstack.programs import checkout_path, venv_program
from roots_devstack.waiting import until_ready

User = Literal["provision", "tasks", "subscriptions", "longpoll"]
USERS: Final[tuple[User, ...]] = ("provision", "tasks", "subscriptions", "longpoll")
_READY_SECONDS = 30.0
STOP_SECONDS = 3.0
_SERVER_NAME = "roots-devstack"


class Broker:
    """One nats-server.

    `home` is the stack's folder: the data go to `home/nats`, the passwords to `home/secrets`.
    """

    name = "nats"

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        watch: Watch = UNWATCHED,
    ) -> None:
        self.port = ports.reserve() if port is None else port
        self.admin_url = f"http://{ports.HOST}:{ports.reserve()}"
        self._store = home.absolute() / "nats"
        self._keys = Keys(home.absolute() / "secrets")
        self.process = Process(self._program(), watch)

    @property
    def url(self) -> str:
        """Where the server listens."""
        return f"nats://{ports.HOST}:{self.port}"

    def password(self, user: User) -> str:
        """Return the password of one user of nats.conf."""
        return self._keys.get(f"nats-{user}")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server, on the same port as before, and return once JetStream answers. Errors: DevstackError."""
        try:
            await self.process.start()
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server in order; what it has stored stays."""
        await self.process.stop(STOP_SECONDS)

    async def kill(self) -> None:
        """Kill the server as a power cut would; it stays dead until `start`."""
        await self.process.crash()

    async def wait_ready(self) -> None:
        """Return once JetStream answers. Errors: DevstackError."""
        await until_ready(self, seconds=_READY_SECONDS)

    async def unready_reason(self) -> str | None:
        """Return None once the server is up and its JetStream is too, else what it lacks."""
        answer = await probes.get(f"{self.admin_url}/healthz?js-enabled-only=true")
        if answer is None:
            return f"it does not answer on port {self.port}"
        return None if answer.status == probes.OK else "its JetStream is not up"

    def provision_config(self) -> ProvisionConfig:
        """Return what `roots_common.provision` needs for this server; `replace` sets other limits."""
        return ProvisionConfig(url=self.url, user="provision", password=self.password("provision"))

    async def provision(self, config: ProvisionConfig | None = None) -> None:
        """Create the stream and the bucket; by default with the limits that everyone has."""
        await provision(self.provision_config() if config is None else config)

    def _program(self) -> Program:
        passwords = {f"ROOTS_NATS_{user.upper()}_PASSWORD": self.password(user) for user in USERS}
        command = (
            venv_program("nats-server"),
            *("-c", checkout_path("deploy/nats/nats.conf")),
            *("-a", ports.HOST),
            *("-p", str(self.port)),
            *("-m", self.admin_url.rpartition(":")[2]),
            *("-sd", self._store),
        )
        env = bare({"ROOTS_NATS_NAME": _SERVER_NAME, **passwords})
        return Program(name=self.name, command=command, env=env)
