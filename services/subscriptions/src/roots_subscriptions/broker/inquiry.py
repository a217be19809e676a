"""Asks every replica of a service, when their number is unknown, and collects the answers that come in time."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
import nats.errors
from nats.aio.client import Client

from roots.runtime import logs
from roots_subscriptions.errors import BrokerUnavailableError

# A replica answers within milliseconds; all of this is always waited, since another answer may come.
INQUIRY_SECONDS = 0.25

T = TypeVar("T")
log = logs.get(__name__)


class Inquiry:
    """Asks over NATS. Its coroutines run on the event loop of the client that `client` returns."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    async def ask(self, subject: str, question: str, answer_type: type[T]) -> list[T]:
        """Return the answers to `question` that come within INQUIRY_SECONDS; a malformed one is skipped.

        Errors: BrokerUnavailableError when it can't be asked.
        """
        client = self._client()
        answers: list[T] = []
        try:
            inbox = client.new_inbox()
            replies = await client.subscribe(inbox)
            try:
                await client.publish(subject, question.encode(), reply=inbox)
                async with asyncio.timeout(INQUIRY_SECONDS):
                    async for reply in replies.messages:
                        self._add(answers, reply.data, answer_type)
            except TimeoutError:
                return answers
            finally:
                await replies.unsubscribe()
        except (nats.errors.Error, OSError) as error:
            raise BrokerUnavailableError(type(error).__name__) from error
        return answers

    @staticmethod
    def _add(answers: list[T], data: bytes, answer_type: type[T]) -> None:
        if not data:
            # The server reports that no subscriber exists.
            return
        try:
            answers.append(msgspec.json.decode(data, type=answer_type))
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.warning("answer_malformed", bytes=len(data))
