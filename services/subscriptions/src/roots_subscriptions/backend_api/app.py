"""The WSGI application of the back-end API, on a port of its own that no browser can reach."""

from typing import Any

import falcon
from prometheus_client import CollectorRegistry

from roots.auth.policy import Policy
from roots.auth.policy_watch import PolicyWatch
from roots.contracts.uids import Uids
from roots.http import web
from roots.tracing.tracing import Tracing
from roots_subscriptions.backend_api.audit import Audit
from roots_subscriptions.backend_api.authorization import RETRY_AFTER_SECONDS, BackendAuthorizer
from roots_subscriptions.backend_api.clients import Clients
from roots_subscriptions.backend_api.compatibility import Tutorial
from roots_subscriptions.backend_api.connect import BackendConnect
from roots_subscriptions.backend_api.publishing import EventPublisher
from roots_subscriptions.backend_api.rate_limit import RateLimits
from roots_subscriptions.backend_api.resources import Publish, Publishing
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.errors import BrokerUnavailableError
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.write_health import WriteHealth
from roots_subscriptions.metrics import Metrics


def create_backend_api(
    *,
    policy: PolicyWatch[Policy],
    uids: Uids,
    audit: Audit,
    broker: BrokerThread,
    grants: Grants,
    write_health: WriteHealth,
    metrics: Metrics,
    registry: CollectorRegistry,
    tracing: Tracing,
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the application that back ends reach."""
    app = web.create_app(middleware=[*tracing.middleware(), web.HttpMetrics("subscriptions_backend_api", registry)])
    app.add_error_handler(BrokerUnavailableError, _answer_unavailable)
    authorizer = BackendAuthorizer(
        lambda: policy.current.backends, lambda: policy.is_refused, RateLimits(), audit, metrics
    )
    publishing = Publishing(broker, EventPublisher(broker.client, write_health, metrics, tracing), metrics)
    app.add_route("/", Tutorial(authorizer, publishing, broker, grants, uids))
    app.add_route("/v1/publish", Publish(authorizer, publishing))
    clients = Clients(authorizer, broker, grants, uids, lambda: policy.current)
    app.add_route("/v1/clients/{uid}", clients)
    app.add_route("/v1/explain", clients, suffix="explain")
    app.add_route("/v1/revoke", clients, suffix="revoke")
    connecting = BackendConnect(authorizer, broker, grants, uids)
    app.add_route("/v1/connect", connecting, suffix="connect")
    app.add_route("/v1/revision", connecting, suffix="revision")
    return app


def _answer_unavailable(
    _req: falcon.Request, _resp: falcon.Response, error: BrokerUnavailableError, _params: dict[str, Any]
) -> None:
    raise web.Problem(
        503, "NATS can't be reached; nothing was done, try again.", retry_after_seconds=RETRY_AFTER_SECONDS
    ) from error
