"""The bridge from waitress's threads to NATS: one daemon thread with the event loop on which everything of NATS runs.

Owns the client and its reconnection; promises that no call outlives its deadline.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from nats.aio.client import Client

from roots.http.health import HEARTBEAT_SECONDS, Check
from roots.nats import broker
from roots.runtime import logs
from roots_subscriptions.errors import BrokerUnavailableError

CALL_TIMEOUT_SECONDS = 3.0
STOP_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")
log = logs.get(__name__)


class BrokerThread:
    """Keeps a NATS client, and runs coroutines for threads that have no event loop.

    Shape: `serve` is awaited with each new client until that client is closed, and cancelled when the thread stops;
        `beat` is called every second that the loop runs.
    """

    def __init__(
        self, config: broker.BrokerConfig, serve: Callable[[Client], Awaitable[None]], beat: Callable[[], None]
    ) -> None:
        self._config = config
        self._serve = serve
        self._beat = beat
        self._client: Client | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    @property
    def is_connected(self) -> bool:
        """Whether NATS was there a moment ago."""
        return self._client is not None and self._client.is_connected

    def client(self) -> Client:
        """Return the connected client. Errors: BrokerUnavailableError while there is none."""
        if self._client is None or not self._client.is_connected:
            raise BrokerUnavailableError("not connected")
        return self._client

    def start(self) -> None:
        """Start the thread, which connects for as long as it takes."""
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> T:
        """Return what `coroutine` returns on the loop.

        Errors: what it raises; BrokerUnavailableError when it takes longer, and then it is cancelled. What it asked of
            NATS may have happened nevertheless.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout_seconds)
        except TimeoutError as error:
            future.cancel()
            raise BrokerUnavailableError("no answer in time") from error

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call `function` on the loop; before the start it waits for that."""
        self._loop.call_soon_threadsafe(function)

    def check(self) -> Check:
        """Check the connection."""
        if self.is_connected:
            return Check(is_ok=True, detail="connected to NATS")
        return Check(is_ok=False, detail="waits for NATS")

    def stop(self) -> None:
        """End `serve`, close the client and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_TIMEOUT_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        supervisor = asyncio.create_task(self._supervise())
        stopping = asyncio.create_task(self._stop.wait())
        while not stopping.done():
            self._beat()
            await asyncio.wait([stopping], timeout=HEARTBEAT_SECONDS)
        supervisor.cancel()
        await asyncio.wait([supervisor])

    async def _supervise(self) -> None:
        """Have a client at all times: nats-py reconnects by itself, but on some of the server's errors it closes."""
        while True:
            try:
                self._client = await broker.connect(self._config)
                await self._serve(self._client)
            except Exception:  # a supervising loop: whatever failed, a new client is the remedy
                log.exception("broker_serving_failed")
                await asyncio.sleep(broker.RECONNECT_WAIT_SECONDS)
            finally:
                if self._client is not None:
                    await self._client.close()
