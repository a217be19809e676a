"""Runs a relay as a process: its sink, its maintenance and its admin port. May import: all of this package."""

import asyncio

from roots.http import health
from roots.runtime import lifecycle, logs
from roots.runtime.config import ServiceConfig
from roots.tracing.tracing import open_tracing
from roots_outbox.database import Database
from roots_outbox.maintenance import Maintenance
from roots_outbox.metrics import RelayMetrics
from roots_outbox.relay import Relay
from roots_outbox.sink import Sink

log = logs.get(__name__)


async def run_relay(
    config: ServiceConfig,
    database: Database,
    sink: Sink,
    *,
    admin_port: int,
    metrics_prefix: str,
) -> None:
    """Publish the outbox of `database` to `sink` until SIGTERM; the batch under way is finished first."""
    stop = lifecycle.stop_event()
    registry = health.create_registry()
    metrics = RelayMetrics(registry, metrics_prefix)
    tracing = open_tracing("relay")
    relay = Relay(database, sink, metrics, tracing)
    maintenance = Maintenance(database, metrics, relay.leads)
    readiness = health.Health()
    checks = {
        database.name: relay.check,
        **sink.checks,
        "publish": relay.publish_check,
        "outbox": maintenance.outbox_check,
    }
    for name, check in checks.items():
        readiness.add(name, check)
    admin = health.create_admin_server(readiness, registry, host=config.http_host, port=admin_port)
    admin.start()
    log.info("relaying", admin_port=admin.port)
    async with asyncio.TaskGroup() as group:
        work = [sink.run(), maintenance.run(), _beat(readiness)]
        background = [group.create_task(coroutine) for coroutine in work]
        relaying = group.create_task(relay.run())
        await asyncio.wait([group.create_task(stop.wait()), relaying], return_when=asyncio.FIRST_COMPLETED)
        log.info("stopping")
        readiness.drain()
        relay.stop()
        await asyncio.wait([relaying], timeout=config.drain_seconds)
        for task in (relaying, *background):
            task.cancel()
    tracing.stop()
    admin.close()
    log.info("stopped")


async def _beat(readiness: health.Health) -> None:
    while True:
        readiness.beat()
        await asyncio.sleep(health.HEARTBEAT_SECONDS)
