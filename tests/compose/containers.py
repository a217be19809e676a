"""The system of docker-compose.yml as a run of chaos sees it: asks Docker where its parts are and how they do."""

import asyncio
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from roots_devstack.errors import DevstackError
from roots_devstack.keys import Keys

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".compose"
READY_SECONDS = 90.0
READY_INTERVAL_SECONDS = 0.2
NATS_PORT = 4222
POSTGRES_PORT = 5432


class Containers:
    """A running system. Shape: `command` is how compose is called, `settings` are variables of its file."""

    def __init__(self, command: str, settings: Mapping[str, str]) -> None:
        self._command = shlex.split(command)
        self._environment = {**os.environ, **settings}
        self._addresses: dict[str, str] = {}

    async def up(self, *arguments: str) -> None:
        """Start everything, and return once it is ready. Errors: DevstackError."""
        await self._compose("up", "--detach", "--wait", *arguments)
        self._addresses = {name: await self._address(name) for name in ("postgres", "nats")}

    async def restart(self, service: str, away_seconds: float) -> None:
        """Stop all containers of a service, and start them after `away_seconds`. Errors: DevstackError."""
        await self._compose("stop", service)
        try:
            await asyncio.sleep(away_seconds)
        finally:
            await self._compose("start", service)

    async def wait_ready(self, service: str) -> None:
        """Return once every container of a service is healthy. Errors: DevstackError."""
        await self._wait_healthy([service])

    async def wait_all_ready(self) -> None:
        """Return once every container that has a health check is healthy. Errors: DevstackError."""
        await self._wait_healthy([])

    async def gateway_url(self) -> str:
        """Return where browsers find everything. Errors: DevstackError."""
        published = await self._compose("port", "gateway", "4020")
        return f"http://127.0.0.1:{published.rpartition(':')[2]}"

    @property
    def broker_url(self) -> str:
        """Where NATS listens, for this machine."""
        return f"nats://{self._addresses['nats']}:{NATS_PORT}"

    def url(self, name: str) -> str:
        """Return where Postgres serves, for this machine; nothing else is asked directly."""
        password = Keys(HOME / "secrets").get("postgres-tasks")
        return f"postgresql://tasks:{password}@{self._addresses[name]}:{POSTGRES_PORT}/tasks"

    async def _wait_healthy(self, services: Sequence[str]) -> None:
        health: dict[str, str] = {}
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not health or any(found not in ("healthy", "") for found in health.values()):
                    await asyncio.sleep(READY_INTERVAL_SECONDS)
                    lines = (await self._compose("ps", "--format", "json", *services)).splitlines()
                    containers = [json.loads(line) for line in lines if line.startswith("{")]
                    health = {container["Name"]: container["Health"] for container in containers}
        except TimeoutError as error:
            raise DevstackError(f"not healthy within {READY_SECONDS:.0f} s: {health}") from error

    async def _address(self, service: str) -> str:
        container = (await self._compose("ps", "--quiet", service)).splitlines()[-1]
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return await self._run("docker", "inspect", "--format", template, container)

    async def _compose(self, *arguments: str) -> str:
        return await self._run(*self._command, *arguments)

    async def _run(self, *command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        if process.returncode:
            raise DevstackError(f"{shlex.join(command)} ended with {process.returncode}: {errors.decode()[-2000:]}")
        return output.decode().strip()
