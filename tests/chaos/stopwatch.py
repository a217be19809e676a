"""Watches this process: when its own loop stalls, times that it measured say nothing about the services."""

import asyncio
import time

STEP_SECONDS = 0.05


class Stopwatch:
    """The longest stall of the event loop so far. Units: stall_seconds."""

    def __init__(self) -> None:
        self.stall_seconds = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = time.monotonic() + STEP_SECONDS
            await asyncio.sleep(STEP_SECONDS)
            self.stall_seconds = max(self.stall_seconds, time.monotonic() - due)
