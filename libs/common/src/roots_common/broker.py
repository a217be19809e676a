"""The only place that connects to NATS.

`connect` returns a client that reconnects for ever, notices a frozen server, refuses publishes while it is
disconnected instead of storing them late, and keeps to its own inbox prefix, as the server's permissions demand.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import nats
from nats.aio.client import Client

from roots_common import logs
from roots_common.config import setting
from roots_common.uids import UID_CHARACTERS

CONNECT_TIMEOUT_SECONDS = 2.0
RECONNECT_WAIT_SECONDS = 0.25
# The server is taken for dead after PING_SECONDS * MAX_PINGS; nats-py's own default is four minutes.
PING_SECONDS = 3
MAX_PINGS = 2
DRAIN_SECONDS = 5
TRIES_PER_LOG = 40

_UID = re.compile(rf"[A-Za-z0-9_-]{{{UID_CHARACTERS}}}")

log = logs.get(__name__)

Listener = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """How to reach NATS. Each service has its own user there."""

    url: str = setting("ROOTS_NATS_URL", default="nats://127.0.0.1:4222")
    user: str = setting("ROOTS_NATS_USER")
    password: str = setting("ROOTS_NATS_PASSWORD", is_secret=True)
    tls_ca: str = setting("ROOTS_NATS_TLS_CA", default="")


async def connect(
    config: BrokerConfig,
    *,
    on_reconnect: Listener | None = None,
    on_error: Callable[[Exception], Awaitable[None]] | None = None,
) -> Client:
    """Return a connected client; try until there is one.

    Errors: none but cancellation. Failed tries are logged; nats-py's own first connect would never return.
    """
    tries = 0
    while True:
        client = Client()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS * 2):
                await client.connect(**_options(config), **_callbacks(client, on_reconnect, on_error))
        except (OSError, TimeoutError, nats.errors.Error) as error:
            await client.close()
            if tries % TRIES_PER_LOG == 0:
                log.warning("broker_unreachable", error=type(error).__name__, tries=tries + 1)
            tries += 1
            await asyncio.sleep(RECONNECT_WAIT_SECONDS)
        else:
            return client


def inbox_prefix(user: str) -> bytes:
    """Return the inbox prefix that the permissions of `user` allow."""
    return f"_INBOX_{user}".encode()


def _options(config: BrokerConfig) -> dict[str, Any]:
    return {
        "servers": [url.strip() for url in config.url.split(",")],
        "user": config.user,
        "password": config.password,
        "name": f"roots-{config.user}",
        "inbox_prefix": inbox_prefix(config.user),
        "tls": ssl.create_default_context(cafile=config.tls_ca) if config.tls_ca else None,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "reconnect_time_wait": RECONNECT_WAIT_SECONDS,
        "max_reconnect_attempts": -1,
        "ping_interval": PING_SECONDS,
        "max_outstanding_pings": MAX_PINGS,
        # A publish made while disconnected fails at once, instead of being stored behind our back later.
        "pending_size": 0,
        "drain_timeout": DRAIN_SECONDS,
    }


def _callbacks(
    client: Client, on_reconnect: Listener | None, on_error: Callable[[Exception], Awaitable[None]] | None
) -> dict[str, Any]:
    async def disconnected() -> None:
        if not client.is_closed:
            log.warning("broker_disconnected")

    async def reconnected() -> None:
        log.info("broker_reconnected")
        if on_reconnect is not None:
            await on_reconnect()

    async def failed(error: Exception) -> None:
        # A refused subject may end in a uid, which belongs in no log (I10).
        log.warning("broker_error", error=type(error).__name__, detail=_UID.sub("<uid>", str(error)))
        if on_error is not None:
            await on_error(error)

    return {"disconnected_cb": disconnected, "reconnected_cb": reconnected, "error_cb": failed}
