"""`python -m roots_subscriptions`: the subscriptions service, wired together and run until SIGTERM or SIGINT."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from nats.aio.client import Client

from roots.auth.authentication import Authenticator
from roots.auth.policy import Policy
from roots.auth.policy_file import PolicyError
from roots.auth.policy_watch import PolicyWatch
from roots.contracts.events import MAX_BATCH_BYTES
from roots.http import health
from roots.http.server import HttpServer
from roots.runtime import descriptors, logs
from roots.runtime.config import exit_usage, load_or_exit, take_no_arguments
from roots.runtime.lifecycle import catch_stop
from roots.tracing.tracing import open_tracing
from roots_subscriptions.backend_api.app import create_backend_api
from roots_subscriptions.backend_api.audit import Audit
from roots_subscriptions.backend_api.keyless import policy_parser
from roots_subscriptions.broker.ended_client_notices import EndedClientNotices
from roots_subscriptions.broker.log_epoch import answer_epoch_requests
from roots_subscriptions.broker.readiness import BrokerReadiness
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.config import SubscriptionsConfig
from roots_subscriptions.connecting.app import create_app
from roots_subscriptions.grants.expired_path_withdrawal import ExpiredPathWithdrawal
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.index import GrantIndex
from roots_subscriptions.grants.policy_changes import PolicyChanges
from roots_subscriptions.grants.refusals import Refusals, answer_refusals
from roots_subscriptions.grants.renewal import RenewalResponder
from roots_subscriptions.grants.store import GrantStore
from roots_subscriptions.metrics import Metrics

# Six of the largest batches.
BACKEND_API_MAX_HELD_BYTES = 6 * MAX_BATCH_BYTES

log = logs.get(__name__)


class Service:
    """Every part of the process, made but not started."""

    def __init__(self, config: SubscriptionsConfig) -> None:
        self._config = config
        self._health = health.Health()
        registry = health.create_registry()
        metrics = Metrics(registry)
        self._policy = PolicyWatch(
            config.policy_file,
            policy_parser(config.backend_api_host),
            name=config.policy_name,
            service="subscriptions",
            registry=registry,
        )
        self._authenticator = Authenticator("subscriptions", registry)
        self._tracing = open_tracing("subscriptions")
        uids = config.uids
        self._broker = BrokerThread(config, serve=self._serve, beat=self._health.beat)
        store = self._store = GrantStore(self._broker.client, metrics)
        self._readiness = BrokerReadiness(store, metrics)
        self._index = GrantIndex(store)
        grants = Grants(store, self._index, lambda: self._policy.current, metrics, config.max_anonymous_clients)
        self._policy_changes = PolicyChanges(grants)
        self._expired_path_withdrawal = ExpiredPathWithdrawal(grants)
        self._renewals = RenewalResponder(grants, uids, metrics)
        self._ended_client_notices = EndedClientNotices(self._index, config.ended_path)
        self._refusals = Refusals()
        app = create_app(
            policy=self._policy,
            authenticator=self._authenticator,
            uids=uids,
            broker=self._broker,
            grants=grants,
            refusals=self._refusals,
            metrics=metrics,
            registry=registry,
            tracing=self._tracing,
        )
        backend_api = create_backend_api(
            policy=self._policy,
            uids=uids,
            audit=Audit(config.uid_key.encode()),
            broker=self._broker,
            grants=grants,
            write_health=store.write_health,
            metrics=metrics,
            registry=registry,
            tracing=self._tracing,
        )
        self._http = HttpServer(app, host=config.http_host, port=config.http_port)
        self._backend_api = HttpServer(
            backend_api,
            host=config.backend_api_host,
            port=config.backend_api_port,
            max_body_bytes=MAX_BATCH_BYTES,
            max_held_bytes=BACKEND_API_MAX_HELD_BYTES,
        )
        self._admin = health.create_admin_server(self._health, registry, host=config.http_host, port=config.admin_port)
        metrics.queue_depth.set_function(lambda: self._http.queue_depth + self._backend_api.queue_depth)
        metrics.clients.set_function(lambda: len(self._index))
        metrics.broker_connected.set_function(lambda: self._broker.is_connected)
        self._add_checks()
        self._policy.on_change(self._apply_policy)

    def start(self) -> None:
        """Listen at once, and connect to NATS meanwhile."""
        self._apply_policy(self._policy.current)
        self._policy.catch_hangup()
        self._policy.start()
        self._broker.start()
        self._admin.start()
        self._http.start()
        self._backend_api.start()
        ports = {"http": self._http, "backend_api": self._backend_api, "admin": self._admin}
        log.info("service_started", **{f"{name}_port": server.port for name, server in ports.items()})

    def stop(self) -> None:
        """Be unready, answer what is under way, leave NATS, and close the probes' port last."""
        started = time.monotonic()
        self._health.drain()
        with ThreadPoolExecutor() as pool:
            is_complete = all(pool.map(self._drain, [self._http, self._backend_api]))
        self._policy.stop()
        self._authenticator.close()
        self._broker.stop()
        self._tracing.stop()
        if not is_complete:
            self._health.report_failed_drain()
        self._admin.close()
        log.info("service_stopped", drained=is_complete, seconds=round(time.monotonic() - started, 3))

    def _drain(self, server: HttpServer) -> bool:
        return server.drain(
            linger_seconds=self._config.drain_linger_seconds, deadline_seconds=self._config.drain_seconds
        )

    def _apply_policy(self, policy: Policy) -> None:
        self._authenticator.use(policy.access)
        self._broker.call_soon(self._policy_changes.request)

    def _add_checks(self) -> None:
        checks = {
            "broker": self._broker.check,
            **self._readiness.checks,
            "policy": self._policy.check,
            "connections": health.room_check(self._http, self._backend_api),
        }
        for name, check in checks.items():
            self._health.add(name, check)

    async def _serve(self, client: Client) -> None:
        await answer_refusals(client, self._refusals)
        await answer_epoch_requests(client, self._store)
        async with asyncio.TaskGroup() as tasks:
            indexing = tasks.create_task(self._index.follow())
            reapplying = tasks.create_task(self._policy_changes.run())
            ending = tasks.create_task(self._expired_path_withdrawal.run())
            noticing = tasks.create_task(self._ended_client_notices.run(client))
            renewing = tasks.create_task(self._renewals.serve(client))
            await self._readiness.watch(client)
            for task in (indexing, reapplying, ending, noticing, renewing):
                task.cancel()


def main() -> None:
    """Run the service with the environment's configuration."""
    take_no_arguments("roots_subscriptions", "Run subscriptions, which decides what clients receive, until SIGTERM.")
    config = load_or_exit(SubscriptionsConfig)
    logs.configure("subscriptions", config.log_level)
    descriptors.raise_limit()
    wait_for_stop = catch_stop()
    try:
        service = Service(config)
    except PolicyError as error:
        exit_usage(f"ROOTS_POLICY names {config.policy_name}, which is wrong: {error}")
    service.start()
    wait_for_stop()
    service.stop()


if __name__ == "__main__":
    main()
