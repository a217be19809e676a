"""Tells subscriptions which replica holds the poll of a client, so that its door can explain where a client is.

A request on `roots.clients.held` is a uid; the answer is `{"replica": name, "held": seconds}`, without `held` when no
poll of it waits here. Source: docs/protocol.md, NATS.
"""

import time

import msgspec
import nats.errors
from nats.aio.client import Client as BrokerClient
from nats.aio.msg import Msg

from roots.contracts.requests import HeldPoll
from roots.contracts.subjects import CLIENTS_HELD
from roots.runtime import logs
from roots_longpoll.delivery.dispatcher import Desk

log = logs.get(__name__)


async def answer_whereabouts(client: BrokerClient, desk: Desk, replica: str) -> None:
    """Answer from now on, for as long as `client` is open. Errors: nats.errors.Error."""

    async def answer(message: Msg) -> None:
        # A walk over all polls, since people ask this: an index would cost every poll something.
        poll = next((poll for poll in desk.polls if poll.uid == message.data), None)
        held = None if poll is None else round(time.monotonic() - poll.began, 3)
        try:
            await message.respond(msgspec.json.encode(HeldPoll(replica=replica, held=held)))
        except nats.errors.Error as error:
            log.warning("whereabouts_reply_failed", error=type(error).__name__)

    await client.subscribe(CLIENTS_HELD, cb=answer)
