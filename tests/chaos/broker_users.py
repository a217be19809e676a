"""The stack's NATS, as one of its users."""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client

from roots.contracts.subjects import GRANTS_PREFIX, GRANTS_STREAM, JETSTREAM_API
from roots.nats import broker
from roots.nats.broker import BrokerConfig
from roots_devstack.keys import Keys

from .history import Record
from .protocol import parse_record

REQUEST_SECONDS = 2.0
RETRY_SECONDS = 0.1
READ_SECONDS = 60.0


@asynccontextmanager
async def broker_user(home: Path, url: str, user: str) -> AsyncIterator[Client]:
    """Yield a client of the stack in `home`, connected as `user`."""
    password = Keys(home / "secrets").get(f"nats-{user}")
    client = await broker.connect(BrokerConfig(url=url, user=user, password=password))
    try:
        yield client
    finally:
        await client.close()


class RecordReader:
    """Reads grant records from the bucket's leader, as longpoll may; tries until there is an answer."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read(self, uid: str) -> Record | None:
        """Return the record of `uid`, None when it has none. Errors: TimeoutError."""
        query = json.dumps({"last_by_subj": f"{GRANTS_PREFIX}{uid}"}).encode()
        async with asyncio.timeout(READ_SECONDS):
            while True:
                try:
                    answer = await self._client.request(
                        f"{JETSTREAM_API}.STREAM.MSG.GET.{GRANTS_STREAM}", query, timeout=REQUEST_SECONDS
                    )
                except (nats.errors.Error, OSError):
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                body: dict[str, Any] = json.loads(answer.data)
                if "message" in body:
                    return parse_record(uid, b64decode(body["message"]["data"]))
                if body["error"].get("err_code") == 10037:  # no such message
                    return None
                await asyncio.sleep(RETRY_SECONDS)
