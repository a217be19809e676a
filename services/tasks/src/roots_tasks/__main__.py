"""The commands of the task service: `serve` the REST API, `relay` its events to NATS, `migrate` its database."""

import argparse
import asyncio
import logging
import sys
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry
from psycopg import sql

from roots.auth.authentication import Authenticator
from roots.auth.policy import Policy
from roots.auth.policy_file import PolicyError
from roots.auth.policy_watch import PolicyWatch
from roots.http import health
from roots.http.server import HttpServer
from roots.runtime import descriptors, lifecycle, logs
from roots.runtime.config import exit_usage, load_or_exit
from roots.tracing.tracing import open_tracing
from roots_outbox.jetstream import JetStreamSink
from roots_outbox.postgres import PostgresDatabase
from roots_outbox.service import run_relay
from roots_outbox.source import OutboxSource
from roots_tasks.api.app import create_app
from roots_tasks.api.pages import PREFIX, Pages
from roots_tasks.api.policy import OPEN_POLICY, AuthMiddleware, parse_task_policy
from roots_tasks.config import MigrateConfig, RelayConfig, ServeConfig
from roots_tasks.errors import MigrationError
from roots_tasks.metrics import ServeMetrics
from roots_tasks.storage import migrate
from roots_tasks.storage.database import CONNECTION_STATES, Database
from roots_tasks.storage.maintenance import prune_keys
from roots_tasks.storage.notifier import RelayNotifier
from roots_tasks.storage.store import Store

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
    middleware = AuthMiddleware(lambda: OPEN_POLICY if policy is None else policy.current, authenticator)
    notifier = RelayNotifier(database)
    app = create_app(Store(database, notifier.notify), middleware, metrics, registry, tracing)
    if config.web:
        app.add_sink(Pages(Path(config.web)), PREFIX)
    server = HttpServer(
        app, host=config.http_host, port=config.http_port, threads=THREADS, max_held_bytes=MAX_HELD_BYTES
    )
    admin = health.create_admin_server(readiness, registry, host=config.http_host, port=config.admin_port)
    for state in CONNECTION_STATES:
        metrics.connections.labels(state).set_function(partial(database.count_connections, state))
    metrics.queue_depth.set_function(lambda: server.queue_depth)
    readiness.add("connections", health.room_check(server))
    if policy is not None:
        readiness.add("policy", policy.check)
        policy.on_change(lambda changed: authenticator.use(changed.access))
        authenticator.use(policy.current.access)
        policy.catch_hangup()
        policy.start()
    database.open()
    notifier.start()
    admin.start()
    server.start()
    log.info("serving", port=server.port, admin_port=admin.port)
    signal = wait_for_stop()
    log.info("stopping", signal=signal.name)
    readiness.drain()
    is_complete = server.drain(linger_seconds=config.drain_linger_seconds, deadline_seconds=config.drain_seconds)
    notifier.close()
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
    source = OutboxSource(
        database_url=config.database_url,
        table=sql.Identifier("outbox"),
        application="roots-tasks",
        install_command="python -m roots_tasks migrate",
    )
    relaying = run_relay(
        config,
        PostgresDatabase(source, [prune_keys]),
        JetStreamSink(config),
        admin_port=config.admin_port,
        metrics_prefix="roots_tasks",
    )
    asyncio.run(relaying)


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
    # The pool logs every connection that it lends; only why it can't connect is useful.
    logging.getLogger("psycopg.pool").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
