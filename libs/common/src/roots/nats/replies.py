"""Answers to the requests that services send each other over NATS."""

from collections.abc import Awaitable, Callable

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from roots.runtime import logs

log = logs.get(__name__)


async def answer_requests(
    client: Client, subject: str, reply_to: Callable[[bytes], Awaitable[object]], *, queue: str = ""
) -> Subscription:
    """Answer requests on `subject` with what `reply_to` returns, as JSON, for as long as `client` is open.

    Shape: of the subscribers with the same `queue` one gets a request; without it each does.
    Errors: nats.errors.Error.
    """

    async def answer(message: Msg) -> None:
        reply = await reply_to(message.data)
        try:
            await message.respond(msgspec.json.encode(reply))
        except nats.errors.Error as error:
            log.warning("reply_failed", subject=subject, error=type(error).__name__)

    return await client.subscribe(subject, queue=queue, cb=answer)
