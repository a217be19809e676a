"""The only place that connects to NATS.

`connect` returns a client that reconnects for ever, notices a frozen server, refuses publishes while it is
disconnected instead of storing them late, and keeps to its own inbox prefix, as the server's permissions demand.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import nats
from nats.aio.client import Client

from roots_common import logs
from roots_common.config import setting

CONNECT_TIMEOUT_SECONDS = 2.0
RECONNECT_WAIT_SECONDS = 0.25
# The server is taken for dead after PING_SECONDS * MAX_PINGS; nats-py's own default is four minutes.
PING_SECONDS = 3
MAX_PINGS = 2
DRAIN_SECONDS = 5

log = logs.get(__name__)

Listener = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """How to reach NATS. Each service has its own user there."""

    url: str = setting("ROOTS_NATS_URL", default="nats://127.0.0.1:4222")
    user: str = setting("ROOTS_NATS_USER")
    password: str = setting("ROOTS_NATS_PASSWORD")
    tls_ca: str = setting("ROOTS_NATS_TLS_CA", default="")


async def connect(
    config: BrokerConfig,
    *,
    on_disconnect: Listener | None = None,
    on_reconnect: Listener | None = None,
    on_error: Callable[[Exception], Awaitable[None]] | None = None,
) -> Client:
    """Return a connected client; try until there is one.

    Errors: none but cancellation. Each failed try is logged; nats-py's own first connect would never return.
    """

    async def disconnected() -> None:
        log.warning("broker_disconnected")
        if on_disconnect is not None:
            await on_disconnect()

    async def reconnected() -> None:
        log.info("broker_reconnected")
        if on_reconnect is not None:
            await on_reconnect()

    async def failed(error: Exception) -> None:
        log.warning("broker_error", error=type(error).__name__, detail=str(error))
        if on_error is not None:
            await on_error(error)

    while True:
        client = Client()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS * 2):
                await client.connect(
                    servers=[url.strip() for url in config.url.split(",")],
                    user=config.user,
                    password=config.password,
                    name=f"roots-{config.user}",
                    inbox_prefix=inbox_prefix(config.user),
                    tls=_tls_context(config.tls_ca),
                    connect_timeout=int(CONNECT_TIMEOUT_SECONDS),
                    reconnect_time_wait=RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type]  # nats-py passes it to sleep
                    max_reconnect_attempts=-1,
                    allow_reconnect=True,
                    ping_interval=PING_SECONDS,
                    max_outstanding_pings=MAX_PINGS,
                    # A publish made while disconnected fails at once, instead of being stored behind our back later.
                    pending_size=0,
                    drain_timeout=DRAIN_SECONDS,
                    disconnected_cb=disconnected,
                    reconnected_cb=reconnected,
                    error_cb=failed,
                )
        except (OSError, TimeoutError, nats.errors.Error) as error:
            await client.close()
            log.warning("broker_unreachable", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_WAIT_SECONDS)
        else:
            return client


def inbox_prefix(user: str) -> bytes:
    """Return the inbox prefix that the permissions of `user` allow."""
    return f"_INBOX_{user}".encode()


def _tls_context(ca_file: str) -> ssl.SSLContext | None:
    if not ca_file:
        return None
    return ssl.create_default_context(cafile=str(Path(ca_file)))
