"""The WSGI application that browsers reach: connect and disconnect."""

from typing import Any

import falcon
from prometheus_client import CollectorRegistry

from roots.auth.authentication import Authenticator
from roots.auth.cors import Cors
from roots.auth.policy import Policy
from roots.auth.policy_watch import PolicyWatch
from roots.contracts.uids import Uids
from roots.http import web
from roots.tracing.tracing import Tracing
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.connecting.resources import Connecting
from roots_subscriptions.errors import BrokerUnavailableError, BucketFullError
from roots_subscriptions.grants.grants import Grants
from roots_subscriptions.grants.refusals import Refusals
from roots_subscriptions.metrics import Metrics

RETRY_AFTER_SECONDS = 1
FULL_RETRY_SECONDS = 30


def create_app(
    *,
    policy: PolicyWatch[Policy],
    authenticator: Authenticator,
    uids: Uids,
    broker: BrokerThread,
    grants: Grants,
    refusals: Refusals,
    metrics: Metrics,
    registry: CollectorRegistry,
    tracing: Tracing,
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the application that browsers reach under each app's name."""
    cors = Cors(lambda: policy.current.access)
    app = web.create_app(middleware=[*tracing.middleware(), web.HttpMetrics("subscriptions", registry), cors])
    app.add_error_handler(BrokerUnavailableError, _answer_unavailable)
    connecting = Connecting(policy, authenticator, uids, broker, grants, refusals, metrics)
    app.add_route("/{app}/connect/{uid}", connecting, suffix="connect")
    app.add_route("/{app}/disconnect/{uid}", connecting, suffix="disconnect")
    return app


def _answer_unavailable(
    _req: falcon.Request, _resp: falcon.Response, error: BrokerUnavailableError, _params: dict[str, Any]
) -> None:
    if isinstance(error, BucketFullError):
        detail = "There is no room for another client's grants; they end an hour after its last poll."
        raise web.Problem(503, detail, reason="full", retry_after_seconds=FULL_RETRY_SECONDS) from error
    raise web.Problem(
        503, "The grants can't be changed now; try again.", retry_after_seconds=RETRY_AFTER_SECONDS
    ) from error
