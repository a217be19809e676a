"""The processes of Roots itself: which there are, their settings, and when each is ready."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from roots.nats.broker import BrokerConfig
from roots.runtime.config import Seconds, load, setting
from roots_devstack.keys import Keys
from roots_devstack.processes import ports, probes
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import inherited, of_user, over
from roots_devstack.processes.supervision import UNWATCHED, Process, Watch
from roots_devstack.servers.broker import Broker, User
from roots_devstack.servers.postgres import ROLE, Postgres

# Short, so that by default the whole stack stops within ten seconds.
_DRAIN_SECONDS = 3.0
_DRAIN = "ROOTS_DRAIN_SECONDS"
# What a process may need for its end after its drain.
_END_SECONDS = 1.0
# With another way to NATS than the stack's own a service could not start.
_LIVE_VARIABLES = {"ROOTS_NATS_LIVE_USER", "ROOTS_NATS_LIVE_CREDS", "ROOTS_NATS_LIVE_NKEY_SEED"}
_BROKER_VARIABLES = frozenset(field.metadata["variable"] for field in fields(BrokerConfig)) | _LIVE_VARIABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainConfig:
    """How long a service that stops may take."""

    drain_seconds: Seconds = setting(_DRAIN, default=_DRAIN_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the services are connected to, and what is in their environment as if the user had set it."""

    home: Path
    postgres: Postgres
    broker: Broker
    extra_env: Mapping[str, str]

    @property
    def stop_seconds(self) -> float:
        """How long to wait for the end of a service before it is killed."""
        return load(DrainConfig, of_user(self.extra_env)).drain_seconds + _END_SECONDS

    def env(
        self,
        user: User,
        chosen: Mapping[str, str] | None = None,
        *,
        has_database: bool = False,
        has_uid_key: bool = False,
    ) -> dict[str, str]:
        """Return the environment of one process: what is `chosen` for it, the secrets that it needs, and no others."""
        settings = {
            "PYTHONUNBUFFERED": "1",
            "ROOTS_HTTP_HOST": ports.HOST,
            "ROOTS_NATS_URL": self.broker.url,
            "ROOTS_NATS_USER": user,
            "ROOTS_NATS_PASSWORD": self.broker.password(user),
        }
        if not {_DRAIN, f"{_DRAIN}_FILE"} & of_user(self.extra_env).keys():
            settings[_DRAIN] = str(_DRAIN_SECONDS)
        if has_database:
            settings["ROOTS_DATABASE_URL"] = self.postgres.url
        if has_uid_key:
            settings["ROOTS_UID_KEY"] = Keys(self.home / "secrets").get("uid-key")
        return inherited(settings | dict(chosen or {}), self.extra_env, without=_BROKER_VARIABLES)

    def migrate(self) -> Program:
        """Return the one-shot that brings the database's schema up to date."""
        env = self.env("tasks", {"ROOTS_DATABASE_URL": self.postgres.owner_url, "ROOTS_DATABASE_ROLE": ROLE})
        return Program(name="migrate", command=_python("roots_tasks", "migrate"), env=env)

    def provision(self) -> Program:
        """Return the one-shot that creates the stream and the bucket, as in production."""
        replicas = {"ROOTS_NATS_REPLICAS": str(len(self.broker.servers))}
        env = self.env("provision", replicas)
        return Program(name="provision", command=_python("roots.nats.provision"), env=env)


class Service:
    """One process of Roots with an admin port; `http_port` is None when it serves nothing else."""

    def __init__(
        self,
        name: str,
        *arguments: str,
        http_port: int | None,
        env: Mapping[str, str],
        watch: Watch = UNWATCHED,
    ) -> None:
        self.name = name
        self.address = None if http_port is None else f"{ports.HOST}:{http_port}"
        admin_port = ports.reserve()
        self.admin_url = f"http://{ports.HOST}:{admin_port}"
        settings = {"ROOTS_ADMIN_PORT": str(admin_port)}
        if http_port is not None:
            settings["ROOTS_HTTP_PORT"] = str(http_port)
        program = Program(name=name, command=_python(*arguments), env=over(env, settings))
        self.process = Process(program, watch)

    @property
    def url(self) -> str | None:
        """Where the service listens, without the gateway."""
        return None if self.address is None else f"http://{self.address}"

    async def unready_reason(self) -> str | None:
        """Return None when the service is ready, else what it waits for."""
        return await probes.unready_reason(self.admin_url)


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)
