"""Publishes the uids of clients that have ended, so that a back end can remove them from its tables.

Every replica does it, from its index. The event's id has the uid and the sequence of its last record, so the log keeps
one of them. A client that ends while no replica runs is not reported. Source: docs/protocol.md, The back-end API.
"""

import asyncio
import time

import msgspec
from nats.aio.client import Client

from roots.contracts.events import Event
from roots.nats.publisher import Publisher
from roots_subscriptions.grants.index import GrantIndex

PUBLISH_INTERVAL_SECONDS = 1.0
PUBLISH_SECONDS = 8.0
BATCH = 500


class EndedClientNotices:
    """Publishes on `path`; nothing when it is empty."""

    def __init__(self, index: GrantIndex, path: str) -> None:
        self._index = index
        self._path = path

    async def run(self, client: Client) -> None:
        """Publish until cancelled; what NATS does not take is published later. Errors: nats.errors.Error."""
        publisher = await Publisher.open(client)
        while True:
            await asyncio.sleep(PUBLISH_INTERVAL_SECONDS)
            ended = [self._index.ended_clients.popleft() for _ in range(min(BATCH, len(self._index.ended_clients)))]
            if not self._path or not ended:
                continue
            results = await publisher.publish([self._notice(*client) for client in ended], seconds=PUBLISH_SECONDS)
            late = [client for client, result in zip(ended, results, strict=True) if result.outcome.is_retryable]
            self._index.ended_clients.extendleft(reversed(late))

    def _notice(self, uid: str, seq: int) -> Event:
        return Event(
            path=self._path,
            message=msgspec.json.encode({"uid": uid}),
            # No back end's name begins so.
            event_id=f"::ended:{uid}:{seq}",
            committed_ns=time.time_ns(),
        )
