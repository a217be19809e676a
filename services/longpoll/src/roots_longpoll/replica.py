"""The composition root: builds one replica, runs it, and takes it down in order."""

import asyncio
import math
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client as BrokerClient
from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import Metric

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
from roots.nats.reader import JetStreamReader, LogReader
from roots.nats.streams import NatsUnavailableError
from roots.runtime import descriptors, logs
from roots.tracing.tracing import OFF, Tracing
from roots_longpoll.admin.metrics import StatsCollector, shown
from roots_longpoll.admin.traces import REPORTS_PER_SECOND, DeliveryTraces
from roots_longpoll.config import Config
from roots_longpoll.delivery.dispatcher import PollDispatcher
from roots_longpoll.delivery.grants import GrantsView
from roots_longpoll.delivery.holds import TICKS_PER_SECOND
from roots_longpoll.delivery.poll import AnyNeed, Limits, Need, NeedRecords, NeedReplay
from roots_longpoll.delivery.ring import Ring
from roots_longpoll.delivery.stats import Stats
from roots_longpoll.errors import ReplayRefusedError
from roots_longpoll.http.connection import Connection
from roots_longpoll.http.drain import drain
from roots_longpoll.http.server_state import STALE_SECONDS, SWEEPS_PER_SECOND, ServerState
from roots_longpoll.stream.clients import answer_held_poll_queries, renew_grants
from roots_longpoll.stream.follower import Follower
from roots_longpoll.stream.live import LiveFeed
from roots_longpoll.stream.lookups import Lookups
from roots_longpoll.stream.nats_protocol import Subscription
from roots_longpoll.stream.replay import Replayer
from roots_longpoll.stream.sinks import EVENT_HEADERS, GRANT_HEADERS, TRACED_EVENT_HEADERS, EventSink, GrantSink
from roots_longpoll.stream.vanished import VanishedGrants

# So many of the latest events are read at the start, so that clients that come from a replica that died find them here.
PRELOAD_EVENTS = 4096
LISTEN_BACKLOG = 65_535
# A replica whose NATS is there has its view in a fraction of this, on a busy machine too.
FIRST_VIEW_SECONDS = 5.0
LOOK_SECONDS = 0.02

log = logs.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What reads from NATS, once it is connected."""

    client: BrokerClient
    live: LiveFeed
    followers: Mapping[str, Follower]
    lookups: Lookups
    replayer: Replayer
    vanished: VanishedGrants

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent and live messages come."""
        return self.client.is_connected and self.live.is_connected

    @property
    def age_seconds(self) -> float:
        """How long ago the older view of the two streams was known to be complete."""
        return max(follower.age_seconds for follower in self.followers.values())


class Replica:
    """One replica: its parts, and `Streams` once NATS is there.

    Shape: port and admin_port are those that were bound, once `listening` is set.
    """

    def __init__(self, config: Config, tracing: Tracing = OFF) -> None:
        self.listening = asyncio.Event()
        self.port = config.http_port
        self.admin_port = config.admin_port
        self._config = config
        self._limits = Limits(hold_seconds=config.hold_seconds, max_held=config.max_held)
        self._traces = DeliveryTraces(tracing) if tracing.is_on else None
        self._stats = Stats(None if self._traces is None else self._traces.deliver)
        self._ring = Ring(config.ring_bytes)
        self._view = GrantsView(config.max_clients_cached)
        # What the dispatcher needs, in the order in which it does; `_execute_needs` takes it from here.
        self._needs: asyncio.Queue[AnyNeed] = asyncio.Queue()
        self._reads: set[asyncio.Task[None]] = set()
        self._dispatcher = PollDispatcher(
            ring=self._ring,
            view=self._view,
            uids=config.uids,
            stats=self._stats,
            limits=self._limits,
            need=self._needs.put_nowait,
        )
        # A connection is an open file. What is over the limit is refused, so that NATS and probes find files left.
        self._max_connections = descriptors.connections_within(config.max_connections)
        if self._max_connections < config.max_connections:
            log.warning("connections_limited", connections=self._max_connections, wanted=config.max_connections)
        self._server = ServerState(self._stats, max_connections=self._max_connections, origins=config.origins)
        self._streams: Streams | None = None
        self._health = Health()
        self._clock = ClockCheck()
        self._health.add("clock", self._clock.check)
        self._health.add("broker", self._check_broker)
        self._health.add("view", self._check_view)

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until `stopped` is set, then drain. Errors: OSError when a port can't be bound."""
        config = self._config
        registry = health.create_registry()
        registry.register(StatsCollector(self._stats, self._figures))
        admin = health.create_admin_server(self._health, registry, host=config.http_host, port=config.admin_port)
        listener = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._dispatcher, self._server),
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
                    group.create_task(_every(1 / TICKS_PER_SECOND, self._dispatcher.tick)),
                    group.create_task(_every(1 / SWEEPS_PER_SECOND, self._sweep)),
                    group.create_task(_every(health.HEARTBEAT_SECONDS, self._health.beat)),
                    group.create_task(self._follow()),
                    group.create_task(self._listen(listener)),
                    group.create_task(self._renew_grants()),
                ]
                if self._traces is not None:
                    background.append(group.create_task(_every(1 / REPORTS_PER_SECOND, self._traces.report)))
                await stopped.wait()
                log.info("draining", polls=len(self._dispatcher.held))
                self._health.drain()
                is_complete = await drain(
                    self._dispatcher,
                    self._server,
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
            for task in self._reads:
                task.cancel()
            await asyncio.gather(*self._reads, return_exceptions=True)
            if self._streams is not None:
                await self._streams.client.close()
            admin.close()
        log.info("stopped")

    async def _listen(self, listener: asyncio.Server) -> None:
        """Take connections once polls can be served, or after FIRST_VIEW_SECONDS to say why they can't.

        A gateway that finds the port closed asks another replica; one that was answered 503 hands that on.
        """
        end = time.monotonic() + FIRST_VIEW_SECONDS
        while self._server.refusal is not None and time.monotonic() < end:  # noqa: ASYNC110  # swept
            await asyncio.sleep(LOOK_SECONDS)
        if self._server.is_draining:
            return
        await listener.start_serving()
        self.listening.set()
        log.info("listening", port=self.port, admin_port=self.admin_port)

    async def _follow(self) -> None:
        """Connect to NATS, then follow both streams and read what the dispatcher needs."""
        client = await broker.connect(self._config, on_reconnect=self._reconcile)
        self._streams = streams = self._open_streams(client)
        await answer_held_poll_queries(client, self._dispatcher.held, f"{socket.gethostname()}:{self.port}")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._execute_needs(streams))
            group.create_task(streams.live.run())
            for follower in streams.followers.values():
                group.create_task(follower.run())
            group.create_task(streams.vanished.run())

    def _open_streams(self, client: BrokerClient) -> Streams:
        reader = LogReader(client)
        records = JetStreamReader(client, GRANTS_STREAM)
        events = Follower(
            reader,
            stream=EVENTS_STREAM,
            subjects=f"{EVENTS_PREFIX}>",
            sink=EventSink(self._dispatcher, None if self._traces is None else self._traces.receive),
            preload=PRELOAD_EVENTS,
            has_holes=False,
            renew=reader.renew,
        )
        grant_sink = GrantSink(self._view, self._dispatcher, on_epoch=events.wake)
        grants = Follower(
            records,
            stream=GRANTS_STREAM,
            subjects=f"{GRANTS_PREFIX}>",
            sink=grant_sink,
            preload=0,
            has_holes=True,
            on_state=lambda state: self._clock.note(state.skew_seconds),
        )

        def note_live(is_live: bool) -> None:  # noqa: FBT001  # the one argument of a callback
            events.set_live(is_live=is_live)
            grants.set_live(is_live=is_live)

        subscriptions = [
            Subscription(
                live_prefix=LIVE_EVENTS_PREFIX,
                prefix=EVENTS_PREFIX,
                headers=EVENT_HEADERS if self._traces is None else TRACED_EVENT_HEADERS,
                take=events.receive,
            ),
            Subscription(
                live_prefix=LIVE_GRANTS_PREFIX, prefix=GRANTS_PREFIX, headers=GRANT_HEADERS, take=grants.receive
            ),
        ]
        return Streams(
            client=client,
            live=LiveFeed(self._config.live, subscriptions, note_live),
            followers={"events": events, "grants": grants},
            lookups=Lookups(self._dispatcher, self._view, records, self._spawn),
            replayer=Replayer(
                reader, self._ring, self._limits, self._stats.unreadable, slots=self._config.replay_slots
            ),
            vanished=VanishedGrants(records, self._view, grant_sink),
        )

    async def _execute_needs(self, streams: Streams) -> None:
        """Do what the dispatcher needs. The only place where a poll leads to a read or to another turn of the loop."""
        while True:
            match await self._needs.get():
                case NeedRecords(polls=polls):
                    streams.lookups.ask(polls)
                case NeedReplay() as need:
                    self._spawn(self._replay(streams.replayer, need))
                case Need.HEAD_CHECK:
                    streams.followers["events"].wake()
                case Need.NEXT_SLICE:
                    try:
                        self._dispatcher.answer_woken()
                    except Exception:  # as after a fault in any callback of the loop, the others go on
                        log.exception("slice_failed")
                    await asyncio.sleep(0)

    async def _replay(self, replayer: Replayer, need: NeedReplay) -> None:
        try:
            replay = await replayer.read(need.starts)
        except (NatsUnavailableError, ReplayRefusedError) as error:
            log.warning("replay_failed", error=type(error).__name__, detail=str(error))
            self._dispatcher.unavailable(need.poll, "The log could not be read in time.")
        else:
            self._dispatcher.replayed(need, replay)

    def _spawn(self, read: Coroutine[Any, Any, None]) -> None:
        """Run `read` as a task that ends with the replica."""
        task = asyncio.get_running_loop().create_task(read)
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)

    async def _renew_grants(self) -> None:
        while True:
            await asyncio.sleep(self._config.renewal_seconds)
            if self._streams is not None and self._streams.client.is_connected:
                await renew_grants(self._streams.client, self._view.take_served())

    def _sweep(self) -> None:
        age = self._view_age_seconds()
        self._server.note_view_age(age)
        self._dispatcher.set_stale(is_stale=age > STALE_SECONDS)
        self._server.sweep()

    def _view_age_seconds(self) -> float:
        return math.inf if self._streams is None else self._streams.age_seconds

    async def _reconcile(self) -> None:
        if self._streams is not None:
            for follower in self._streams.followers.values():
                follower.wake()

    @property
    def _is_connected(self) -> bool:
        return self._streams is not None and self._streams.is_connected

    def _check_broker(self) -> Check:
        return Check(is_ok=self._is_connected, detail="connected" if self._is_connected else "waiting for NATS")

    def _check_view(self) -> Check:
        followers = {} if self._streams is None else self._streams.followers
        waiting = [name for name, follower in followers.items() if not follower.is_ready]
        # Polls are served once a sweep has seen the view; ready means that.
        is_served = self.listening.is_set() and self._server.refusal is None
        if not followers or waiting or not is_served:
            return Check(is_ok=False, detail=f"waiting for a complete view of {', '.join(waiting) or 'the streams'}")
        return Check(is_ok=True, detail="complete")

    def _figures(self) -> Iterable[Metric]:
        """Return what the replica has at one moment, beside what `Stats` counts."""
        streams, ring = self._streams, self._ring
        followers = {} if streams is None else streams.followers
        oldest_ns = ring.oldest_committed_ns
        reach_seconds = max(0.0, time.time() - oldest_ns / 1e9) if oldest_ns else 0.0
        yield shown("polls_held", len(self._dispatcher.held), Gauge, "Polls that wait now.")
        yield shown("polls_held_limit", self._config.max_held, Gauge, "Polls that may wait at a time.")
        yield shown("connections", len(self._server), Gauge, "Open connections.")
        yield shown("connections_limit", self._max_connections, Gauge, "Connections that may be open at a time.")
        yield shown(
            "held_paths", len(self._dispatcher.held.by_path), Gauge, "Paths that at least one held poll waits on."
        )
        yield shown("ring_events", len(ring), Gauge, "Events in the ring.")
        yield shown("ring_bytes", ring.bytes, Gauge, "Bytes of the ring.")
        yield shown("ring_limit_bytes", self._config.ring_bytes, Gauge, "Bytes that the ring may have.")
        yield shown("ring_reach_seconds", reach_seconds, Gauge, "Age of the oldest event in the ring.")
        yield shown("ring_evicted", ring.evicted_total, Counter, "Events that left the ring for want of room.")
        yield shown("clients_cached", len(self._view), Gauge, "Clients whose grants are in the view.")
        yield shown("broker_connected", self._is_connected, Gauge, "1 while NATS is connected.")
        nats_connects = 0 if streams is None else streams.live.connections
        yield shown("nats_connects", nats_connects, Counter, "Connections for live messages made.")
        yield shown(
            "clock_skew_seconds",
            self._clock.skew_seconds,
            Gauge,
            "How far this machine's clock is ahead of NATS, at least.",
        )
        view_age_seconds = {name: follower.age_seconds for name, follower in followers.items()}
        yield shown("view_age_seconds", view_age_seconds, Gauge, "Since the view was known to be complete.", "stream")
        repairs = {name: follower.repairs for name, follower in followers.items()}
        yield shown("repairs", repairs, Counter, "Holes in the live messages, read from the stream.", "stream")
        repaired_messages = {name: follower.repaired_messages for name, follower in followers.items()}
        yield shown("repaired_messages", repaired_messages, Counter, "Messages that did not come live.", "stream")
        replays = {} if streams is None else streams.replayer.results
        yield shown("replays", replays, Counter, "Backlogs read from the stream, by result.", "result")


async def _every(seconds: float, function: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        function()
