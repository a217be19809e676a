"""Keeps the records of polling clients alive: longpoll reports whom it serves on `roots.grants.touch`, once a minute.

A request is a JSON array of at most MAX_RENEWALS uids; the reply is a `RenewalReply`, or a `RequestError` for a request
of another form. The replicas of subscriptions share the requests: each goes to one of them.
Source: docs/protocol.md, NATS.
"""

import asyncio
from typing import Annotated

import msgspec
from nats.aio.client import Client

from roots.contracts.requests import MAX_RENEWALS, RENEWAL_SECONDS, RenewalReply, RequestError
from roots.contracts.subjects import GRANT_RENEWAL
from roots.contracts.uids import Uids
from roots.nats.replies import answer_requests
from roots.runtime import logs
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.metrics import Metrics

QUEUE_GROUP = "subscriptions"
"""The replicas share the requests of this group: each goes to one of them."""
MAX_CONCURRENT = 32
# The answer needs some of the time for its way.
DEADLINE_SECONDS = RENEWAL_SECONDS - 1
DRAIN_SECONDS = 5.0

log = logs.get(__name__)


class RenewalResponder:
    """Answers renewal requests, one after the other; within one, MAX_CONCURRENT uids at a time."""

    def __init__(self, grants: Grants, uids: Uids, metrics: Metrics) -> None:
        self._grants = grants
        self._uids = uids
        self._metrics = metrics

    async def serve(self, client: Client) -> None:
        """Answer until cancelled, and then finish the request that is under way."""
        subscription = await answer_requests(client, GRANT_RENEWAL, self._reply_to, queue=QUEUE_GROUP)
        try:
            await asyncio.Event().wait()
        finally:
            if client.is_connected:
                async with asyncio.timeout(DRAIN_SECONDS):
                    await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py's types leave it out

    async def _reply_to(self, data: bytes) -> RenewalReply | RequestError:
        try:
            uids = msgspec.json.decode(data, type=Annotated[list[str], msgspec.Meta(max_length=MAX_RENEWALS)])
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.warning("renewal_malformed", bytes=len(data))
            return RequestError(error=f"a request is a JSON array of at most {MAX_RENEWALS} uids")
        return await self._renew(dict.fromkeys(uids))

    async def _renew(self, uids: dict[str, None]) -> RenewalReply:
        slots = asyncio.Semaphore(MAX_CONCURRENT)
        results: dict[str, str] = dict.fromkeys(uids, "failed")

        async def renew(uid: str) -> None:
            async with slots:
                results[uid] = await self._renew_one(uid)

        tasks = [asyncio.create_task(renew(uid)) for uid in uids]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DEADLINE_SECONDS)
            for task in late:
                task.cancel()
        for result in results.values():
            self._metrics.renewals.labels(result).inc()
        return RenewalReply(
            renewed=sum(result in {"extended", "fresh"} for result in results.values()),
            unknown=[uid for uid, result in results.items() if result == "unknown"],
        )

    async def _renew_one(self, uid: str) -> str:
        # A text that is no uid must not become part of a subject.
        if not self._uids.is_valid(uid):
            return "unknown"
        try:
            change = await self._grants.renew(uid)
        except BrokerUnavailableError:
            return "failed"
        if change.after is None:
            return "unknown"
        return "fresh" if change.after is change.before else "extended"
