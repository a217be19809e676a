"""Live messages: a connection of its own to NATS, on which republished messages come and are taken at once.

Requests go through nats-py. There a message passes a stream reader, a parser, a queue and a task of its own; here it is
read where it arrives, in a few microseconds. `follower` repairs what is lost, so a connection that breaks is just made
again.
Source: docs/adr/0009-live-connection.md.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from roots.nats.broker import (
    CONNECT_TIMEOUT_SECONDS,
    MAX_PINGS,
    PING_SECONDS,
    RECONNECT_WAIT_SECONDS,
    TRIES_PER_LOG,
    BrokerConfig,
)
from roots.nats.nkeys import NkeyError, read_credentials, read_nkey
from roots.nats.streams import NatsUnavailableError
from roots.runtime import logs
from roots_longpoll.stream.nats_protocol import Info, NatsProtocol, Subscription

DEFAULT_PORT = 4222

log = logs.get(__name__)


class LiveFeed:
    """Keeps one connection, whichever server has it, and hands on what comes.

    Shape: on_change is called with is_connected each time that it changes: whether all subscriptions receive.
        connections counts how often they began to.
    """

    def __init__(
        self, config: BrokerConfig, subscriptions: Sequence[Subscription], on_change: Callable[[bool], None]
    ) -> None:
        self.is_connected = False
        self.connections = 0
        self._config = config
        self._subscriptions = subscriptions
        self._on_change = on_change

    async def run(self) -> None:
        """Listen until cancelled."""
        loop = asyncio.get_running_loop()
        servers = self._config.servers
        tries = 0
        # Replicas that all began with the first server would all hang on that one.
        for url in itertools.cycle(random.sample(servers, len(servers))):
            began, connections = loop.time(), self.connections
            try:
                await self._listen(url)
            except (OSError, TimeoutError, NkeyError, NatsUnavailableError) as error:
                if self.connections != connections:
                    log.warning("live_lost", error=type(error).__name__, detail=str(error))
                    tries = 0
                elif tries % TRIES_PER_LOG == 0:
                    log.warning("live_unreachable", error=type(error).__name__, detail=str(error), tries=tries + 1)
                tries += 1
            # A server that ends each connection at once is asked no more often than one that is away.
            await asyncio.sleep(began + RECONNECT_WAIT_SECONDS - loop.time())

    async def _listen(self, url: str) -> None:
        """Receive until the connection is lost. Errors: OSError, TimeoutError, NkeyError, NatsUnavailableError."""
        connection = NatsProtocol()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS * 2):
                await self._connect(connection, url)
            self.connections += 1
            self.is_connected = True
            log.info("live_connected")
            self._on_change(self.is_connected)
            while True:
                await connection.stay(PING_SECONDS)
                async with asyncio.timeout(PING_SECONDS * MAX_PINGS):
                    await connection.ping()
        finally:
            connection.close()
            if self.is_connected:
                self.is_connected = False
                self._on_change(self.is_connected)

    async def _connect(self, connection: NatsProtocol, url: str) -> None:
        """Let every subscription receive on `connection`. Errors: as _listen."""
        config = self._config
        address = urlsplit(url if "://" in url else f"nats://{url}")
        host, port = address.hostname or "", address.port or DEFAULT_PORT
        # Certificates, keys and credentials are read again for each connection, so that they can be renewed.
        context = config.tls_context() if config.is_secure else None
        first = context if config.tls_first else None
        await asyncio.get_running_loop().create_connection(lambda: connection, host, port, ssl=first)
        info = await connection.info()
        if context is not None and first is None:
            await connection.start_tls(context, host)
        await connection.ping(b"CONNECT %b\r\n" % msgspec.json.encode(_introduction(config, info)))
        await connection.subscribe(self._subscriptions)


def _introduction(config: BrokerConfig, info: Info) -> dict[str, object]:
    return {
        "verbose": False,
        "pedantic": False,
        "headers": True,
        "no_responders": False,
        "protocol": 1,
        "lang": "python",
        "version": "roots",
        "name": f"roots-{config.user}-live",
        **_identity(config, info),
    }


def _identity(config: BrokerConfig, info: Info) -> dict[str, object]:
    if config.creds:
        credentials = read_credentials(config.creds)
        return {"jwt": credentials.jwt, "sig": credentials.nkey.sign(info.nonce).decode()}
    if config.nkey_seed:
        nkey = read_nkey(config.nkey_seed)
        return {"nkey": nkey.public, "sig": nkey.sign(info.nonce).decode()}
    return {"user": config.user, "pass": config.password}
