"""Watches this process: while its own loop stalls, times that it measures say nothing about the services."""

import asyncio
import time

from .history import Stall

STEP_SECONDS = 0.05
# Shorter ones are within what every time here is true to.
STALL_SECONDS = 0.1


class Stopwatch:
    """The stalls of the event loop so far."""

    def __init__(self) -> None:
        self.stalls: list[Stall] = []

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = time.monotonic() + STEP_SECONDS
            await asyncio.sleep(STEP_SECONDS)
            now = time.monotonic()
            if now - due > STALL_SECONDS:
                self.stalls.append(Stall(due, now))
