"""Publishing for back ends: batches of events to JetStream, and whether the stream takes them.

The events of a batch are sent in their order over one connection, so they are stored in that order; one that fails does
not hold back those after it. May import: nats, roots.
"""

import asyncio
from collections.abc import Callable, Sequence

import nats.errors
from nats.aio.client import Client

from roots.contracts.events import Event, Outcome, Published
from roots.contracts.subjects import EVENTS_STREAM
from roots.nats.publisher import Publisher
from roots.tracing.tracing import Tracing
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.write_health import WriteHealth
from roots_subscriptions.metrics import Metrics

# JetStream syncs each event to disk before it acknowledges: a batch of a thousand takes a second or so.
BATCH_SECONDS = 8.0


class EventPublisher:
    """Publishes batches. Its coroutines run on the event loop of the client that `client` returns."""

    def __init__(self, client: Callable[[], Client], health: WriteHealth, metrics: Metrics, tracing: Tracing) -> None:
        self._client = client
        self._health = health
        self._metrics = metrics
        self._tracing = tracing
        self._opening = asyncio.Lock()
        self._publisher: Publisher | None = None

    async def publish(self, events: Sequence[Event]) -> list[Published]:
        """Publish `events` and return what became of each, in the same order, within BATCH_SECONDS.

        Errors: BrokerUnavailableError when NATS is away, and nothing was sent.
        """
        publisher = await self._open_publisher()
        with self._metrics.broker_operation("publish"), self._tracing.publish(events) as publishing:
            results = await publisher.publish(publishing.events, seconds=BATCH_SECONDS)
            outcomes = [result.outcome for result in results]
            for outcome in outcomes:
                # An event that is refused for good shows nothing of the stream, nor does a repeat.
                if outcome is Outcome.STORED or outcome.is_retryable:
                    self._health.note(EVENTS_STREAM, is_stored=outcome.is_kept)
            publishing.end((outcome.value, outcome.is_kept) for outcome in outcomes)
        return results

    async def _open_publisher(self) -> Publisher:
        """Return the publisher of the present client, always the same: each has a subscription for its answers."""
        async with self._opening:
            client = self._client()
            if self._publisher is None or self._publisher.client is not client:
                try:
                    self._publisher = await Publisher.open(client)
                except (nats.errors.Error, OSError) as error:
                    raise BrokerUnavailableError("not connected") from error
            return self._publisher
