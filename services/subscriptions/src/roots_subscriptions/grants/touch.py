"""Keeps the records of polling clients alive: longpoll reports on `roots.grants.touch`, once a minute, whom it serves.

A request is a JSON array of at most MAX_UIDS uids; the reply is `{"touched": N, "unknown": [uid, …]}`, or
`{"error": …}` for a request of another form. A uid in neither could not be looked up; it is reported again in a minute.
The replicas of subscriptions share the requests: each goes to one of them. Source: docs/protocol.md, NATS.
"""

import asyncio
from typing import Annotated

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots.contracts.subjects import GRANTS_TOUCH
from roots.contracts.uids import Uids
from roots.runtime import logs
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.metrics import Metrics

QUEUE_GROUP = "subscriptions"
MAX_UIDS = 1000
MAX_CONCURRENT = 32
# Longpoll waits 5 s for the reply.
DEADLINE_SECONDS = 4.0
DRAIN_SECONDS = 5.0

log = logs.get(__name__)


class TouchReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the uids of one request. Shape: touched counts those whose record lives on."""

    touched: int
    unknown: list[str]


class TouchError(msgspec.Struct, frozen=True, kw_only=True):
    """Says why a request was not understood."""

    error: str


class TouchResponder:
    """Answers touch requests, one after the other; within one, MAX_CONCURRENT uids at a time."""

    def __init__(self, grants: Grants, uids: Uids, metrics: Metrics) -> None:
        self._grants = grants
        self._uids = uids
        self._metrics = metrics

    async def serve(self, client: Client) -> None:
        """Answer until cancelled, and then finish the request that is under way."""
        subscription = await client.subscribe(GRANTS_TOUCH, queue=QUEUE_GROUP, cb=self._answer)
        try:
            await asyncio.Event().wait()
        finally:
            if client.is_connected:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py's types leave it out

    async def _answer(self, message: Msg) -> None:
        reply = await self._reply_to(message.data)
        try:
            await message.respond(msgspec.json.encode(reply))
        except nats.errors.Error as error:
            log.warning("touch_reply_failed", error=type(error).__name__)

    async def _reply_to(self, data: bytes) -> TouchReply | TouchError:
        try:
            uids = msgspec.json.decode(data, type=Annotated[list[str], msgspec.Meta(max_length=MAX_UIDS)])
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.warning("touch_malformed", bytes=len(data))
            return TouchError(error=f"a request is a JSON array of at most {MAX_UIDS} uids")
        return await self._touch(dict.fromkeys(uids))

    async def _touch(self, uids: dict[str, None]) -> TouchReply:
        slots = asyncio.Semaphore(MAX_CONCURRENT)
        results: dict[str, str] = dict.fromkeys(uids, "failed")

        async def touch(uid: str) -> None:
            async with slots:
                results[uid] = await self._touch_one(uid)

        tasks = [asyncio.create_task(touch(uid)) for uid in uids]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DEADLINE_SECONDS)
            for task in late:
                task.cancel()
        for result in results.values():
            self._metrics.touches.labels(result).inc()
        return TouchReply(
            touched=sum(result in {"extended", "fresh"} for result in results.values()),
            unknown=[uid for uid, result in results.items() if result == "unknown"],
        )

    async def _touch_one(self, uid: str) -> str:
        # What is no uid must not become a part of a subject either.
        if not self._uids.is_valid(uid):
            return "unknown"
        try:
            change = await self._grants.touch(uid)
        except BrokerUnavailableError:
            return "failed"
        if change.after is None:
            return "unknown"
        return "fresh" if change.after is change.before else "extended"
