"""The commands of the task service: `serve` the REST API, `relay` its events to NATS, `migrate` its database."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from roots.auth.authentication import Authenticator
from roots.auth.policy import Policy
from roots.auth.policy_file import PolicyError
from roots.auth.policy_watch import PolicyWatch
from roots.http import health
from roots.http.server import HttpServer
from roots.runtime import descriptors, lifecycle, logs
from roots.runtime.config import exit_usage, load_or_exit
from roots.tracing.tracing import open_tracing
from roots_tasks import migrate
from roots_tasks.app import create_app
from roots_tasks.config import MigrateConfig, RelayConfig, ServeConfig
from roots_tasks.database import Database
from roots_tasks.errors import MigrationError
from roots_tasks.hints import Hints
from roots_tasks.housekeeping import Housekeeping
from roots_tasks.metrics import RelayMetrics, ServeMetrics
from roots_tasks.pages import PREFIX, Pages
from roots_tasks.policy import OPEN_POLICY, Guard, parse_task_policy
from roots_tasks.publisher import Publisher
from roots_tasks.relay import Relay
from roots_tasks.store import Store

# Each may hold a connection to Postgres.
THREADS = 16
# Unread pages of the list, most of all.
MAX_HELD_BYTES = 64 << 20

log = logs.get(__name__)


def main() -> None:
    """Run the command that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m roots_tasks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve the REST API until SIGTERM").set_defaults(run=_serve)
    commands.add_parser("relay", help="publish committed changes to NATS until SIGTERM").set_defaults(run=_relay)
    commands.add_parser("migrate", help="bring the database's schema up to date, then exit").set_defaults(run=_migrate)
    arguments = parser.parse_args()
    try:
        arguments.run()
    except OSError as error:
        sys.exit(f"error: it can't listen: {error}")


def _serve() -> None:
    config = load_or_exit(ServeConfig)
    _configure_logs("tasks", config.log_level)
    wait_for_stop = lifecycle.catch_stop()
    database = Database(config.database_url, max_connections=THREADS)
    registry = health.create_registry()
    metrics = ServeMetrics(registry)
    tracing = open_tracing("tasks")
    readiness = health.Health()
    readiness.add("postgres", database.check)
    readiness.add("outbox", database.outbox_check)
    policy = _load_policy(config, registry)
    authenticator = Authenticator("tasks", registry)
    guard = Guard(lambda: OPEN_POLICY if policy is None else policy.current, authenticator)
    hints = Hints(database)
    app = create_app(Store(database, hints.want), guard, metrics, registry, tracing)
    if config.web:
        app.add_sink(Pages(Path(config.web)), PREFIX)
    server = HttpServer(
        app, host=config.http_host, port=config.http_port, threads=THREADS, max_held_bytes=MAX_HELD_BYTES
    )
    admin = health.create_admin_server(readiness, registry, host=config.http_host, port=config.admin_port)
    metrics.observe_connections(database.count_connections)
    metrics.observe_queue(lambda: server.queue_depth)
    readiness.add("connections", health.room_check(server))
    if policy is not None:
        readiness.add("policy", policy.check)
        policy.on_change(lambda changed: authenticator.use(changed.access))
        authenticator.use(policy.current.access)
        policy.catch_hangup()
        policy.start()
    database.open()
    hints.start()
    admin.start()
    server.start()
    log.info("serving", port=server.port, admin_port=admin.port)
    signal = wait_for_stop()
    log.info("stopping", signal=signal.name)
    readiness.drain()
    is_complete = server.drain(linger_seconds=config.drain_linger_seconds, deadline_seconds=config.drain_seconds)
    hints.close()
    if policy is not None:
        policy.stop()
    authenticator.close()
    database.close()
    tracing.stop()
    if not is_complete:
        readiness.report_failed_drain()
    admin.close()
    log.info("stopped")


def _load_policy(config: ServeConfig, registry: CollectorRegistry) -> PolicyWatch[Policy] | None:
    """Return the policy that the configuration names, if any; end the process when it is wrong."""
    if not config.policy:
        return None
    try:
        file = Path(config.policy)
        return PolicyWatch(file, parse_task_policy, name=config.policy, service="tasks", registry=registry)
    except PolicyError as error:
        exit_usage(f"ROOTS_POLICY names {config.policy}, which is wrong: {error}")


def _relay() -> None:
    config = load_or_exit(RelayConfig)
    _configure_logs("relay", config.log_level)
    asyncio.run(_run_relay(config))


async def _run_relay(config: RelayConfig) -> None:
    stop = lifecycle.stop_event()
    registry = health.create_registry()
    metrics = RelayMetrics(registry)
    tracing = open_tracing("relay")
    publisher = Publisher(config, metrics, tracing)
    relay = Relay(config.database_url, publisher, metrics)
    housekeeping = Housekeeping(config.database_url, metrics, relay.leads)
    readiness = health.Health()
    readiness.add("postgres", relay.check)
    readiness.add("broker", publisher.broker_check)
    readiness.add("stream", publisher.stream_check)
    readiness.add("publish", relay.publish_check)
    readiness.add("outbox", housekeeping.outbox_check)
    admin = health.create_admin_server(readiness, registry, host=config.http_host, port=config.admin_port)
    admin.start()
    log.info("relaying", admin_port=admin.port)
    async with asyncio.TaskGroup() as group:
        work = [publisher.run(), housekeeping.run(), _beat(readiness)]
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


def _migrate() -> None:
    config = load_or_exit(MigrateConfig)
    _configure_logs("migrate", config.log_level)
    try:
        migrate.migrate(config.database_url, migrate.packaged(), print, role=config.role or None)
    except MigrationError as error:
        sys.exit(f"error: {error}")


def _configure_logs(name: str, level: str) -> None:
    logs.configure(name, level)
    descriptors.raise_limit()
    # The pool tells of every connection it lends; why it can't connect is worth reading.
    logging.getLogger("psycopg.pool").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
