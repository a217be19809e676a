"""Answers which replica holds the poll of a client, so that the back-end API can explain where the client is.

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
from roots_longpoll.delivery.dispatcher import PollDispatcher

log = logs.get(__name__)


async def answer_held_poll_queries(client: BrokerClient, dispatcher: PollDispatcher, replica: str) -> None:
    """Answer from now on, for as long as `client` is open. Errors: nats.errors.Error."""

    async def answer(message: Msg) -> None:
        poll = dispatcher.held.by_uid.get(message.data)
        held = None if poll is None else round(time.monotonic() - poll.began, 3)
        try:
            await message.respond(msgspec.json.encode(HeldPoll(replica=replica, held=held)))
        except nats.errors.Error as error:
            log.warning("held_poll_reply_failed", error=type(error).__name__)

    await client.subscribe(CLIENTS_HELD, cb=answer)
