"""Waiting for a condition, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable

from roots_devstack.errors import DevstackError

_INTERVAL_SECONDS = 0.05


async def until(condition: Callable[[], Awaitable[bool]], *, seconds: float, failure: Callable[[], str]) -> None:
    """Return once `condition` holds.

    Errors: DevstackError with the sentence of `failure` when it does not hold within `seconds`.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110  # nothing here can set an event: others' processes are asked
                await asyncio.sleep(_INTERVAL_SECONDS)
    except TimeoutError as error:
        raise DevstackError(failure()) from error
