"""`python -m roots_subscriptions`: the subscriptions service, wired together and run until SIGTERM or SIGINT."""

import asyncio
import time

from nats.aio.client import Client

from roots_common import health, logs
from roots_common.config import exit_usage, load_or_exit
from roots_common.lifecycle import catch_stop
from roots_common.server import HttpServer
from roots_common.uids import Uids
from roots_subscriptions.app import create_app
from roots_subscriptions.broker_thread import BrokerThread
from roots_subscriptions.config import SubscriptionsConfig, load_policy
from roots_subscriptions.errors import PolicyError
from roots_subscriptions.grants import GrantStore
from roots_subscriptions.metrics import Metrics
from roots_subscriptions.policy import Policy
from roots_subscriptions.readiness import BrokerReadiness
from roots_subscriptions.touch import TouchResponder

log = logs.get(__name__)


class Service:
    """Every part of the process, made but not started."""

    def __init__(self, config: SubscriptionsConfig, policy: Policy) -> None:
        self._config = config
        self._health = health.Health()
        self._readiness = BrokerReadiness()
        registry = health.create_registry()
        metrics = Metrics(registry)
        uids = Uids(config.uid_key.encode())
        self._broker = BrokerThread(config, serve=self._serve, beat=self._health.beat)
        store = GrantStore(self._broker.client, metrics)
        self._touch = TouchResponder(store, uids, metrics)
        app = create_app(policy=policy, uids=uids, broker=self._broker, store=store, metrics=metrics, registry=registry)
        self._http = HttpServer(app, host=config.http_host, port=config.http_port)
        self._admin = health.create_admin_server(self._health, registry, host=config.http_host, port=config.admin_port)
        metrics.queue_depth.set_function(lambda: self._http.queue_depth)
        metrics.broker_connected.set_function(lambda: self._broker.is_connected)
        self._add_checks(policy)

    def start(self) -> None:
        """Listen at once, and connect to NATS meanwhile."""
        self._broker.start()
        self._admin.start()
        self._http.start()
        log.info("service_started", http_port=self._http.port, admin_port=self._admin.port)

    def stop(self) -> None:
        """Be unready, answer what is under way, leave NATS, and close the probes' port last."""
        started = time.monotonic()
        self._health.drain()
        is_complete = self._http.drain(
            linger_seconds=self._config.drain_linger_seconds, deadline_seconds=self._config.drain_seconds
        )
        self._broker.stop()
        self._admin.close()
        log.info("service_stopped", drained=is_complete, seconds=round(time.monotonic() - started, 3))

    def _add_checks(self, policy: Policy) -> None:
        source = self._config.policy or "the packaged default"
        policy_check = health.Check(is_ok=True, detail=f"{len(policy.apps)} app(s), from {source}")
        self._health.add("broker", self._readiness.broker)
        self._health.add("bucket", self._readiness.bucket)
        self._health.add("stream", self._readiness.stream)
        self._health.add("policy", lambda: policy_check)

    async def _serve(self, client: Client) -> None:
        async with asyncio.TaskGroup() as tasks:
            touching = tasks.create_task(self._touch.serve(client))
            await self._readiness.watch(client)
            touching.cancel()


def main() -> None:
    """Run the service with the environment's configuration."""
    config = load_or_exit(SubscriptionsConfig)
    try:
        policy = load_policy(config.policy)
    except PolicyError as error:
        exit_usage(f"ROOTS_POLICY names {config.policy or 'the packaged default'}, which is wrong: {error}")
    logs.configure("subscriptions", config.log_level)
    wait_for_stop = catch_stop()
    service = Service(config, policy)
    service.start()
    wait_for_stop()
    service.stop()


if __name__ == "__main__":
    main()
