"""Where tests find a NATS: with the accounts of deploy/nats, or with one account for all, as it was before them."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import nats
from nats.aio.client import Client
from tests.testkit.deadlines import until

from roots.nats import broker as common_broker
from roots.nats.provision import ProvisionConfig, provision
from roots_devstack.keys import Keys
from roots_devstack.processes import ports, probes
from roots_devstack.processes.programs import venv_program
from roots_devstack.servers.broker import PASSWORDS, Broker, User

SHARED_ACCOUNT: Final = """
server_name: nats
jetstream { sync_interval: always }
authorization { users = [
  { user: provision, password: $ROOTS_NATS_PROVISION_PASSWORD }
  { user: tasks, password: $ROOTS_NATS_TASKS_PASSWORD
    permissions: { publish: ["roots.events.>"], subscribe: ["_INBOX_tasks.>"] } }
  { user: subscriptions, password: $ROOTS_NATS_SUBSCRIPTIONS_PASSWORD
    permissions: {
      publish: ["roots.events.>", "$KV.roots-grants.>", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*",
                "$JS.API.DIRECT.GET.*", "roots.clients.refused"]
      subscribe: ["_INBOX_subscriptions.>", "roots.clients.refused"]
      allow_responses: { max: 1, ttl: "10s" } } }
  { user: longpoll, password: $ROOTS_NATS_LONGPOLL_PASSWORD
    permissions: {
      publish: ["$JS.API.STREAM.INFO.*", "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.*"]
      subscribe: ["_INBOX_longpoll.>", "roots.live.>"] } }
] }
"""
"""Permissions as narrow as the services need them, and no accounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Shape: admin_urls are those of each server; api is what the services call JetStream's API."""

    url: str
    admin_urls: list[str]
    keys: Keys
    api: str

    @classmethod
    def of(cls, broker: Broker, home: Path, api: str) -> Self:
        """Return where the servers of `broker` are, whose stack's folder is `home`."""
        admin_urls = [server.admin_url for server in broker.servers]
        return cls(url=broker.url, admin_urls=admin_urls, keys=Keys(home / "secrets"), api=api)

    @asynccontextmanager
    async def connected(self, user: User) -> AsyncIterator[Client]:
        """Connect as `user`."""
        client = await common_broker.connect(self.config(user))
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def intruder(self, user: User) -> AsyncIterator[Client]:
        """Connect by the password of `user`, as a program that does not mind what it is refused."""
        config = self.config(user)

        async def ignore(_: Exception) -> None:
            """Go on."""

        client = await nats.connect(
            config.servers,
            user=config.user,
            password=config.password,
            inbox_prefix=common_broker.inbox_prefix(user),
            error_cb=ignore,
        )
        try:
            yield client
        finally:
            await client.close()

    def config(self, user: User) -> common_broker.BrokerConfig:
        """Return how `user` connects."""
        password = self.keys.get(f"nats-{user.removesuffix('-live')}")
        return common_broker.BrokerConfig(url=self.url, user=user, password=password)

    async def provision(self) -> None:
        """Create the streams."""
        config = self.config("provision")
        replicas = len(self.admin_urls)
        await provision(ProvisionConfig(url=config.url, password=config.password, replicas=replicas))

    async def jetstream(self, query: str = "") -> dict[str, Any]:
        """Return what the first server tells of its JetStream, in all accounts."""
        answer = await probes.get(f"{self.admin_urls[0]}/jsz{query}")
        assert answer is not None
        told: dict[str, Any] = json.loads(answer.body)
        return told


@asynccontextmanager
async def shared_account(home: Path) -> AsyncIterator[Place]:
    """Run a server with one account for all; its data are where those of a `Broker` of the same home are."""
    keys = Keys(home / "secrets")
    config = home / "shared.conf"
    config.write_text(SHARED_ACCOUNT)
    port, admin_port = ports.reserve(), ports.reserve()
    process = await asyncio.create_subprocess_exec(
        *(venv_program("nats-server"), "-c", str(config), "-sd", str(home / "nats")),
        *("-a", ports.HOST, "-p", str(port), "-m", str(admin_port)),
        env={
            "PATH": os.environ["PATH"],
            **{f"ROOTS_NATS_{name.upper()}_PASSWORD": keys.get(f"nats-{name}") for name in PASSWORDS},
        },
        stderr=asyncio.subprocess.DEVNULL,
    )
    place = Place(
        url=f"nats://{ports.HOST}:{port}", admin_urls=[f"http://{ports.HOST}:{admin_port}"], keys=keys, api="$JS.API"
    )
    try:
        await until(lambda: process.returncode is not None or not ports.is_free(port))
        assert process.returncode is None, "the server does not take its configuration"
        yield place
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
