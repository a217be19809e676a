"""The sink that publishes to the event stream of NATS, and knows whether the stream takes events.

Promises: events that are published together share one round trip, and many of them one sync of the server's disk.
May import: sink, nats, roots.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from roots.contracts.events import Event, Outcome, Published
from roots.contracts.subjects import EVENTS_STREAM, subject_of
from roots.http.health import Check, LastCheck
from roots.nats import broker
from roots.nats.broker import BrokerConfig
from roots.nats.publisher import Publisher
from roots.runtime import logs

ACK_SECONDS = 5.0
# So many events are published as one batch. It syncs the server's disk four times, and makes and removes files: as much
# work as some twenty events by themselves, each of which is synced. Measured in docs/adr/0004.
BATCH_FROM = 24
PROBE_SECONDS = 1.0
# Longer than two probes without an answer, with the pauses after them.
MAX_AGE_SECONDS = 5.0
# JetStream's error for a message that expects another stream than the one it reached. Source: nats-server errors.json.
_STREAM_NOT_MATCH = 10060
_NO_STREAM = "-"
# Any path will do: the probe is never stored.
_PROBE_PATH = "probe"

log = logs.get(__name__)


class JetStreamSink:
    """One connection to NATS, kept up by `run`. It is a Sink."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        self._publisher: Publisher | None = None
        self._stream_check = LastCheck("the stream was not asked yet", max_age_seconds=MAX_AGE_SECONDS)
        self.changed = asyncio.Event()
        self.checks: Mapping[str, Callable[[], Check]] = {"broker": self.broker_check, "stream": self._stream_check}

    async def run(self) -> None:
        """Connect, and probe every second whether the stream takes events, until cancelled."""
        try:
            while True:
                if self._publisher is None or self._publisher.client.is_closed:
                    # nats-py closes a client for good when its password is refused; a new one may succeed.
                    client = await broker.connect(self._config, on_reconnect=self._reconnected)
                    self._publisher = await Publisher.open(client)
                await self._probe(self._publisher.client)
                await asyncio.sleep(PROBE_SECONDS)
        finally:
            if self._publisher is not None:
                await self._publisher.client.close()

    async def publish(self, events: Sequence[Event]) -> list[Published]:
        """Publish `events` at once, and return what became of each once all is known.

        Units: an acknowledgement is awaited for ACK_SECONDS, and no longer once the connection has ended.
        """
        if self._publisher is None:
            return [Published(Outcome.UNAVAILABLE)] * len(events)
        if len(events) >= BATCH_FROM:
            outcome = await self._publisher.publish_atomically(events, seconds=ACK_SECONDS)
            if outcome is not None:
                return [Published(outcome)] * len(events)
        return await self._publisher.publish(events, seconds=ACK_SECONDS)

    def broker_check(self) -> Check:
        """Return whether NATS is connected."""
        if self._publisher is not None and self._publisher.client.is_connected:
            return Check(is_ok=True, detail="NATS is connected")
        return Check(is_ok=False, detail="NATS is not connected; trying again")

    async def _probe(self, client: Client) -> None:
        before = self._stream_check.found
        check = await _look(client)
        self._stream_check.set(check)
        if before.is_ok != check.is_ok:
            log.info("stream_changed", is_ok=check.is_ok, detail=check.detail)
            self.changed.set()

    async def _reconnected(self) -> None:
        self.changed.set()


async def _look(client: Client) -> Check:
    """Publish what the stream must refuse: its refusal shows that a real event would reach it.

    Reading the stream's state would need a permission that the relay has no other use for.
    """
    try:
        await client.jetstream().publish(subject_of(_PROBE_PATH), timeout=PROBE_SECONDS, stream=_NO_STREAM)
    except nats.js.errors.NoStreamResponseError:
        detail = f"no server answers for the stream {EVENTS_STREAM}: it has no leader, or was not provisioned"
        return Check(is_ok=False, detail=detail)
    except nats.js.errors.APIError as error:
        if error.err_code != _STREAM_NOT_MATCH:
            return Check(is_ok=False, detail=f"the stream answers {error.description}")
    except (nats.errors.Error, OSError, TimeoutError):
        return Check(is_ok=False, detail="the stream does not answer")
    return Check(is_ok=True, detail="the stream takes events")
