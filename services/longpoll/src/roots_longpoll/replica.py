"""The composition root: builds one replica, runs it, and takes it down in order."""

import asyncio
import math
import socket
import time
from collections.abc import Callable

from nats.aio.client import Client as BrokerClient

from roots.contracts.subjects import (
    EVENTS_PREFIX,
    EVENTS_STREAM,
    GRANTS_PREFIX,
    GRANTS_STREAM,
    LIVE_EVENTS_PREFIX,
    LIVE_GRANTS_PREFIX,
)
from roots.http import health
from roots.http.health import Check, Health
from roots.nats import broker
from roots.nats.clock import ClockCheck
from roots.runtime import descriptors, logs
from roots.tracing.tracing import OFF, Tracing
from roots_longpoll.admin.metrics import Gauges, StatsCollector
from roots_longpoll.admin.traces import TELLS_PER_SECOND, DeliveryTraces
from roots_longpoll.config import Config
from roots_longpoll.delivery.dispatcher import Desk
from roots_longpoll.delivery.grants import GrantsView
from roots_longpoll.delivery.holds import TICKS_PER_SECOND
from roots_longpoll.delivery.poll import Limits
from roots_longpoll.delivery.ring import Ring
from roots_longpoll.delivery.stats import Stats
from roots_longpoll.http.connection import Connection
from roots_longpoll.http.drain import drain
from roots_longpoll.http.server_state import STALE_SECONDS, SWEEPS_PER_SECOND, Connections
from roots_longpoll.stream.follower import Follower
from roots_longpoll.stream.held_polls import answer_whereabouts
from roots_longpoll.stream.live import LiveFeed
from roots_longpoll.stream.lookups import Lookups
from roots_longpoll.stream.nats_protocol import Subscription
from roots_longpoll.stream.reader import LogReader, StreamReader
from roots_longpoll.stream.reads import World
from roots_longpoll.stream.replay import Replayer, ReplayLimits
from roots_longpoll.stream.sinks import EVENT_HEADERS, GRANT_HEADERS, TRACED_EVENT_HEADERS, EventFeed, GrantFeed
from roots_longpoll.stream.vanished import VanishedGrants

# So many of the latest events are read at the start, so that clients that come from a replica that died find them here.
PRELOAD_EVENTS = 4096
LISTEN_BACKLOG = 65_535
# A replica whose NATS is there has its view in a fraction of this, on a busy machine too.
FIRST_VIEW_SECONDS = 5.0
LOOK_SECONDS = 0.02

log = logs.get(__name__)


class Replica:
    """One replica: its parts, and the followers once NATS is there.

    Shape: port and admin_port are those that were bound, once `listening` is set.
    """

    def __init__(self, config: Config, tracing: Tracing = OFF) -> None:
        self.listening = asyncio.Event()
        self.port = config.http_port
        self.admin_port = config.admin_port
        self._config = config
        self._limits = Limits(hold_seconds=config.hold_seconds, max_held=config.max_held)
        self._stats = Stats()
        self._traces: DeliveryTraces | None = None
        if tracing.is_on:
            self._traces = DeliveryTraces(tracing)
            self._stats.on_deliveries = self._traces.deliver
        self._ring = Ring(config.ring_bytes)
        self._view = GrantsView(config.max_clients_cached)
        self._world = World()
        self._desk = Desk(
            ring=self._ring,
            grants=self._view,
            uids=config.uids,
            outside=self._world,
            stats=self._stats,
            limits=self._limits,
        )
        self._world.desk = self._desk
        # A connection is an open file. What is over the limit is refused, so that NATS and probes find files left.
        self._max_connections = descriptors.connections_within(config.max_connections)
        if self._max_connections < config.max_connections:
            log.warning("connections_limited", connections=self._max_connections, wanted=config.max_connections)
        self._connections = Connections(
            self._desk, self._stats, max_connections=self._max_connections, origins=config.origins
        )
        self._client: BrokerClient | None = None
        self._live: LiveFeed | None = None
        self._followers: dict[str, Follower] = {}
        self._health = Health()
        self._clock = ClockCheck()
        self._health.add("clock", self._clock.check)
        self._health.add("broker", self._check_broker)
        self._health.add("view", self._check_view)

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until `stopped` is set, then drain. Errors: OSError when a port can't be bound."""
        config = self._config
        registry = health.create_registry()
        registry.register(StatsCollector(self._stats, self._gauges()))
        admin = health.create_admin_server(self._health, registry, host=config.http_host, port=config.admin_port)
        listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._connections),
            config.http_host,
            config.http_port,
            backlog=LISTEN_BACKLOG,
            start_serving=False,
        )
        admin.start()
        self.port, self.admin_port = listener.sockets[0].getsockname()[1], admin.port
        try:
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(_every(1 / TICKS_PER_SECOND, self._desk.tick)),
                    group.create_task(_every(1 / SWEEPS_PER_SECOND, self._sweep)),
                    group.create_task(_every(health.HEARTBEAT_SECONDS, self._health.beat)),
                    group.create_task(self._follow()),
                    group.create_task(self._listen(listener)),
                    group.create_task(self._touch()),
                ]
                if self._traces is not None:
                    background.append(group.create_task(_every(1 / TELLS_PER_SECOND, self._traces.tell)))
                await stopped.wait()
                log.info("draining", polls=self._desk.held_count)
                self._health.drain()
                is_complete = await drain(
                    self._desk,
                    self._connections,
                    listener,
                    seconds=config.drain_seconds,
                    linger_seconds=config.drain_linger_seconds,
                )
                if not is_complete:
                    await asyncio.to_thread(self._health.report_failed_drain)
                for task in background:
                    task.cancel()
        finally:
            if self._traces is not None:
                self._traces.close()
            await self._world.close()
            if self._client is not None:
                await self._client.close()
            admin.close()
        log.info("stopped")

    async def _listen(self, listener: asyncio.Server) -> None:
        """Take connections once polls can be served, or after FIRST_VIEW_SECONDS to say why they can't.

        A gateway that finds the port closed asks another replica; one that was answered 503 hands that on.
        """
        end = time.monotonic() + FIRST_VIEW_SECONDS
        while self._connections.refusal is not None and time.monotonic() < end:  # noqa: ASYNC110  # swept
            await asyncio.sleep(LOOK_SECONDS)
        if self._connections.is_draining:
            return
        await listener.start_serving()
        self.listening.set()
        log.info("listening", port=self.port, admin_port=self.admin_port)

    async def _follow(self) -> None:
        """Connect to NATS, then follow both streams."""
        self._client = client = await broker.connect(self._config, on_reconnect=self._wake)
        reader = LogReader(client)
        await answer_whereabouts(client, self._desk, f"{socket.gethostname()}:{self.port}")
        self._world.client = client
        self._world.lookups = Lookups(self._desk, self._view, StreamReader(client, GRANTS_STREAM), self._world.spawn)
        self._world.replayer = Replayer(
            reader,
            self._ring,
            self._limits,
            ReplayLimits(slots=self._config.replay_slots),
            self._stats.unreadable,
        )
        self._world.events = events = Follower(
            client,
            stream=EVENTS_STREAM,
            subjects=f"{EVENTS_PREFIX}>",
            sink=EventFeed(self._desk, None if self._traces is None else self._traces.receive),
            preload=PRELOAD_EVENTS,
            has_holes=False,
            reader=reader,
            renew=reader.renew,
        )
        grant_feed = GrantFeed(self._view, self._desk, on_epoch=events.wake)
        grants = Follower(
            client,
            stream=GRANTS_STREAM,
            subjects=f"{GRANTS_PREFIX}>",
            sink=grant_feed,
            preload=0,
            has_holes=True,
            on_state=lambda state: self._clock.note(state.skew_seconds),
        )
        self._followers = {"events": events, "grants": grants}
        self._live = live = LiveFeed(
            self._config.live,
            [
                Subscription(
                    live_prefix=LIVE_EVENTS_PREFIX,
                    prefix=EVENTS_PREFIX,
                    headers=EVENT_HEADERS if self._traces is None else TRACED_EVENT_HEADERS,
                    take=events.receive,
                ),
                Subscription(
                    live_prefix=LIVE_GRANTS_PREFIX, prefix=GRANTS_PREFIX, headers=GRANT_HEADERS, take=grants.receive
                ),
            ],
            on_change=self._note_live,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(live.run())
            group.create_task(events.run())
            group.create_task(grants.run())
            group.create_task(VanishedGrants(client, self._view, grant_feed).run())

    def _note_live(self) -> None:
        for follower in self._followers.values():
            follower.set_live(is_live=self._live is not None and self._live.is_connected)

    async def _touch(self) -> None:
        while True:
            await asyncio.sleep(self._config.touch_seconds)
            if self._client is not None and self._client.is_connected:
                await self._world.touch()

    def _sweep(self) -> None:
        age = self._view_age_seconds()
        self._connections.note_view_age(age)
        self._desk.set_stale(is_stale=age > STALE_SECONDS)
        self._connections.sweep()

    def _view_age_seconds(self) -> float:
        return max((follower.age_seconds for follower in self._followers.values()), default=math.inf)

    def _ring_reach_seconds(self) -> float:
        oldest_ns = self._ring.oldest_committed_ns
        return max(0.0, time.time() - oldest_ns / 1e9) if oldest_ns else 0.0

    async def _wake(self) -> None:
        for follower in self._followers.values():
            follower.wake()

    @property
    def _is_connected(self) -> bool:
        is_asking = self._client is not None and self._client.is_connected
        return is_asking and self._live is not None and self._live.is_connected

    def _check_broker(self) -> Check:
        return Check(is_ok=self._is_connected, detail="connected" if self._is_connected else "waiting for NATS")

    def _check_view(self) -> Check:
        waiting = [name for name, follower in self._followers.items() if not follower.is_ready]
        # Polls are served once a sweep has seen the view; ready means that.
        is_served = self.listening.is_set() and self._connections.refusal is None
        if not self._followers or waiting or not is_served:
            return Check(is_ok=False, detail=f"waiting for a complete view of {', '.join(waiting) or 'the streams'}")
        return Check(is_ok=True, detail="complete")

    def _gauges(self) -> Gauges:
        return Gauges(
            polls_held=lambda: self._desk.held_count,
            polls_held_limit=self._config.max_held,
            connections_limit=self._max_connections,
            connections=lambda: len(self._connections),
            paths_heard=lambda: self._desk.paths_heard,
            ring_events=lambda: len(self._ring),
            ring_bytes=lambda: self._ring.bytes,
            ring_limit_bytes=self._config.ring_bytes,
            ring_reach_seconds=self._ring_reach_seconds,
            ring_evicted=lambda: self._ring.evicted_total,
            clients_cached=lambda: len(self._view),
            broker_connected=lambda: float(self._is_connected),
            live_connections=lambda: 0 if self._live is None else self._live.connections,
            clock_skew_seconds=lambda: self._clock.skew_seconds,
            view_age_seconds=lambda: {name: follower.age_seconds for name, follower in self._followers.items()},
            repairs=lambda: {name: follower.repairs for name, follower in self._followers.items()},
            repaired_messages=lambda: {name: follower.repaired_messages for name, follower in self._followers.items()},
            replays=lambda: self._world.replayer.results if self._followers else {},
        )


async def _every(seconds: float, function: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        function()
