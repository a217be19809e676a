"""Gives the event log a new epoch: longpoll asks on `roots.log.renew` when it finds the log shorter than it was.

A request is `{"epoch": …}`, the one that the replica knows; the reply is `{"epoch": …}`, a later one, or
`{"error": …}`.
All replicas find it at the same time, and one request makes the epoch that the others are answered. Source: ADR 0015.
"""

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from roots.contracts.requests import RenewReply, RenewRequest
from roots.contracts.subjects import LOG_RENEW
from roots.runtime import logs
from roots_subscriptions.errors import BrokerUnavailableError, EpochRefusedError
from roots_subscriptions.grants.store import GrantStore

QUEUE_GROUP = "subscriptions"

log = logs.get(__name__)


class LogEpochs:
    """Answers requests for a new epoch."""

    def __init__(self, store: GrantStore) -> None:
        self._store = store

    async def serve(self, client: Client) -> None:
        """Answer from now on, for as long as `client` is open. Errors: nats.errors.Error."""
        await client.subscribe(LOG_RENEW, queue=QUEUE_GROUP, cb=self._answer)

    async def _answer(self, message: Msg) -> None:
        reply = await self._reply_to(message.data)
        try:
            await message.respond(msgspec.json.encode(reply))
        except nats.errors.Error as error:
            log.warning("epoch_reply_failed", error=type(error).__name__)

    async def _reply_to(self, data: bytes) -> RenewReply:
        try:
            request = msgspec.json.decode(data, type=RenewRequest)
        except (msgspec.DecodeError, ValueError, RecursionError):
            log.warning("epoch_request_malformed", bytes=len(data))
            return RenewReply(error="a request has the epoch that is known")
        try:
            return RenewReply(epoch=await self._store.renew_epoch(request.epoch))
        except (BrokerUnavailableError, EpochRefusedError) as error:
            log.warning("epoch_not_renewed", reason=str(error))
            return RenewReply(error=str(error))
