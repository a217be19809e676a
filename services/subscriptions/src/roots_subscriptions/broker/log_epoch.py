"""Gives the event log a new epoch: longpoll asks on `roots.log.renew` when it finds the log shorter than it was.

A request is `{"epoch": …}`, the one that the replica knows; the reply is `{"epoch": …}`, a later one, or
`{"error": …}`.
All replicas find it at the same time, and one request makes the epoch that the others are answered. Source: ADR 0015.
"""

import msgspec
from nats.aio.client import Client

from roots.contracts.requests import RenewReply, RenewRequest
from roots.contracts.subjects import LOG_RENEW
from roots.nats.replies import answer_requests
from roots.runtime import logs
from roots_subscriptions.errors import BrokerUnavailableError, EpochRefusedError
from roots_subscriptions.grants.renewal import QUEUE_GROUP
from roots_subscriptions.grants.store import GrantStore

log = logs.get(__name__)


async def answer_epoch_requests(client: Client, store: GrantStore) -> None:
    """Answer requests for a new epoch from now on, for as long as `client` is open. Errors: nats.errors.Error."""

    async def reply_to(data: bytes) -> RenewReply:
        try:
            request = msgspec.json.decode(data, type=RenewRequest)
        except (msgspec.DecodeError, ValueError, RecursionError):
            log.warning("epoch_request_malformed", bytes=len(data))
            return RenewReply(error="a request has the epoch that is known")
        try:
            return RenewReply(epoch=await store.renew_epoch(request.epoch))
        except (BrokerUnavailableError, EpochRefusedError) as error:
            log.warning("epoch_not_renewed", reason=str(error))
            return RenewReply(error=str(error))

    await answer_requests(client, LOG_RENEW, reply_to, queue=QUEUE_GROUP)
