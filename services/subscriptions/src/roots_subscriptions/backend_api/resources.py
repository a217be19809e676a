"""HTTP at the back-end API: `POST /v1/publish`, translated to events and back."""

from collections.abc import Sequence
from typing import Any

import falcon

from roots.contracts.events import MAX_BATCH_BYTES, Outcome, Published
from roots.http.web import Problem, read_json
from roots.tracing.traceparent import traceparent_of
from roots_subscriptions.backend_api.authorization import RETRY_AFTER_SECONDS, BackendAuthorizer, BackendRequest
from roots_subscriptions.backend_api.messages import Message, check_count, check_messages, event_of
from roots_subscriptions.backend_api.publishing import BATCH_SECONDS, EventPublisher
from roots_subscriptions.broker.thread import BrokerThread
from roots_subscriptions.metrics import Metrics

CALL_SECONDS = BATCH_SECONDS + 2


class Publishing:
    """Publishes for one request: checks its back end's rights, and adds results to its audit lines."""

    def __init__(self, broker: BrokerThread, publisher: EventPublisher, metrics: Metrics) -> None:
        self._broker = broker
        self._publisher = publisher
        self._metrics = metrics

    def check_rights(self, request: BackendRequest, messages: Sequence[Message]) -> None:
        """Return when the back end may publish all of `messages`. Errors: Problem 403 that names those it may not."""
        refused = [
            {"index": index, "path": message.path}
            for index, message in enumerate(messages)
            if not request.backend.may_publish(message.path)
        ]
        if refused:
            request.results += [(str(item["path"]), "forbidden") for item in refused]
            raise Problem(403, "This key may not publish on these paths; nothing is published.", refused=refused)

    def publish(self, request: BackendRequest, messages: Sequence[Message], traceparent: str | None) -> list[Published]:
        """Publish `messages`, and return what became of each. Errors: BrokerUnavailableError."""
        events = [event_of(message, request.backend.name, traceparent) for message in messages]
        results = self._broker.call(self._publisher.publish(events), timeout_seconds=CALL_SECONDS)
        outcomes = [result.outcome.value for result in results]
        for outcome in outcomes:
            self._metrics.backend_api_messages.labels(request.backend.name, outcome).inc()
        request.results += [(message.path, outcome) for message, outcome in zip(messages, outcomes, strict=True)]
        return results


class Publish:
    """`POST /v1/publish`."""

    def __init__(self, authorizer: BackendAuthorizer, publishing: Publishing) -> None:
        self._authorizer = authorizer
        self._publishing = publishing

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 with where each message is, when all are stored."""
        with self._authorizer.admit(req, "publish") as request:
            items = read_json(req, list[Any], max_bytes=MAX_BATCH_BYTES)
            check_count(items)
            messages = check_messages(items)
            self._publishing.check_rights(request, messages)
            self._authorizer.charge(request, len(messages) - 1)
            results = self._publishing.publish(request, messages, traceparent_of(req))
            resp.media = {"published": _published(messages, results)}


def _published(messages: Sequence[Message], results: Sequence[Published]) -> list[dict[str, Any]]:
    """Return the answer's items. Errors: Problem 503 or 502 with the outcome of each message, unless all are stored."""
    pairs = list(enumerate(zip(messages, results, strict=True)))
    failed = [
        {
            "index": index,
            "path": message.path,
            "id": message.id,
            "reason": result.outcome.value,
            "retry": result.outcome.is_retryable,
        }
        for index, (message, result) in pairs
        if not result.outcome.is_kept
    ]
    if not failed:
        return [_item(message, result) for _, (message, result) in pairs]
    published = [
        {"index": index, **_item(message, result)} for index, (message, result) in pairs if result.outcome.is_kept
    ]
    if any(item["retry"] for item in failed):
        detail = "Not every message is known to be stored; publish those under `failed` again, with their ids."
        raise Problem(503, detail, retry_after_seconds=RETRY_AFTER_SECONDS, published=published, failed=failed)
    raise Problem(502, "The log refuses some of the messages for good.", published=published, failed=failed)


def _item(message: Message, result: Published) -> dict[str, Any]:
    item = {"path": message.path, "seq": result.seq}
    return {**item, "duplicate": True} if result.outcome is Outcome.REPEATED else item
