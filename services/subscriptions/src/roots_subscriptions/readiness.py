"""Whether subscriptions can do its work: NATS is connected, and the event stream and the grants' bucket exist."""

import asyncio

from nats.aio.client import Client

from roots_common import logs
from roots_common.health import Check
from roots_common.streams import StreamUnavailableError, stream_state
from roots_common.subjects import EVENTS_STREAM, GRANTS_BUCKET, GRANTS_STREAM
from roots_subscriptions.metrics import Metrics

# Soon after provisioning the service is ready; afterwards the answer is only a confirmation.
UNREADY_INTERVAL_SECONDS = 0.25
READY_INTERVAL_SECONDS = 5.0
REQUEST_TIMEOUT_SECONDS = 2.0

_LABELS = {EVENTS_STREAM: "events", GRANTS_STREAM: "grants"}

log = logs.get(__name__)


class BrokerReadiness:
    """Asks NATS now and then, so that a readiness probe is answered from memory."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._client: Client | None = None
        self._missing: dict[str, str] = {EVENTS_STREAM: "not asked yet", GRANTS_STREAM: "not asked yet"}

    async def watch(self, client: Client) -> None:
        """Look again and again until `client` is closed."""
        self._client = client
        while not client.is_closed:
            for stream in (EVENTS_STREAM, GRANTS_STREAM):
                await self._look(client, stream)
            await asyncio.sleep(UNREADY_INTERVAL_SECONDS if self._missing else READY_INTERVAL_SECONDS)

    def broker(self) -> Check:
        """Check the connection."""
        if self._client is not None and self._client.is_connected:
            return Check(is_ok=True, detail="connected to NATS")
        return Check(is_ok=False, detail="waits for NATS")

    def stream(self) -> Check:
        """Check the event stream."""
        return self._check(EVENTS_STREAM, f"the stream {EVENTS_STREAM}")

    def bucket(self) -> Check:
        """Check the bucket of the grants."""
        return self._check(GRANTS_STREAM, f"the bucket {GRANTS_BUCKET}")

    async def _look(self, client: Client, stream: str) -> None:
        try:
            state = await stream_state(client, stream, timeout_seconds=REQUEST_TIMEOUT_SECONDS)
        except StreamUnavailableError as error:
            if stream not in self._missing:
                log.warning("stream_missing", stream=stream, detail=str(error))
            self._missing[stream] = str(error)
        else:
            self._missing.pop(stream, None)
            self._metrics.stream_bytes.labels(_LABELS[stream]).set(state.bytes)
            self._metrics.stream_limit_bytes.labels(_LABELS[stream]).set(state.limit_bytes)
            self._metrics.stream_messages.labels(_LABELS[stream]).set(state.messages)

    def _check(self, stream: str, name: str) -> Check:
        reason = self._missing.get(stream)
        if reason is None:
            return Check(is_ok=True, detail=f"{name} exists")
        return Check(is_ok=False, detail=f"waits for {name} ({reason})")
