"""Waiting for a part of the stack to be ready, with a deadline."""

import asyncio
from typing import Protocol

from roots.runtime.config import EXIT_USAGE
from roots_devstack.deadlines import within
from roots_devstack.errors import DevstackError
from roots_devstack.processes.supervision import Process, with_tail

_INTERVAL_SECONDS = 0.05


class Part(Protocol):
    """One part of the stack: a process, its addresses, and how to ask whether it is ready."""

    @property
    def name(self) -> str:
        """The name that docs and logs use."""

    @property
    def url(self) -> str | None:
        """Where it serves; None when it serves nothing."""

    @property
    def admin_url(self) -> str | None:
        """The URL of its health."""

    @property
    def process(self) -> Process:
        """The process that runs it."""

    async def unready_reason(self) -> str | None:
        """Return None when it is ready, else what it lacks, in words."""


async def until_ready(part: Part, *, seconds: float) -> None:
    """Return once `part` is ready.

    Errors: DevstackError, with what it lacks and the last it wrote, when it is not ready within `seconds`; at once when
        it ended because of its configuration, which another try would not fix.
    """
    reason: str | None = "it was not asked"
    try:
        async with within(seconds):
            # Polled: readiness is another process's, and no event of ours reports it.
            while (reason := await part.unready_reason()) is not None:
                if part.process.last_status == EXIT_USAGE:
                    raise DevstackError(with_tail(f"{part.name} can't run as it is configured", part.process.tail))
                await asyncio.sleep(_INTERVAL_SECONDS)
    except TimeoutError as error:
        sentence = f"{part.name} was not ready after {seconds:.0f} s: {reason}"
        raise DevstackError(with_tail(sentence, part.process.tail)) from error
