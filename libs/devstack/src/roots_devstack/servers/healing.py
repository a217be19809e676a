"""Starting nats-server again when only that heals it, as deploy/nats/health.sh does in containers.

After a write that failed, a stream refuses every write until the server starts again; only the full health check knows.
A restart does not help while the disk is full. What was acknowledged is on disk, and stays.
"""

import asyncio
import contextlib
import math
import shutil
import time
from collections.abc import Sequence

from roots_devstack.processes.supervision import Watch
from roots_devstack.servers.nats_server import NatsServer

LOOK_SECONDS = 1.0
MIN_FREE_BYTES = 1 << 20
# One server alone is unhealthy for no other reason; one of a cluster also while it catches up with the others.
ALONE_SECONDS = 2.0
CLUSTERED_SECONDS = 30.0
# A fault that a restart does not heal is tried less and less often. One that comes after STEADY_SECONDS is another.
STEADY_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 4.0
MAX_PAUSE_SECONDS = 60.0


class Healing:
    """Looks after some servers while it runs."""

    def __init__(self, servers: Sequence[NatsServer], watch: Watch) -> None:
        self._servers = servers
        self._watch = watch
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Look after each server from now on."""
        self._tasks = [asyncio.create_task(self._heal(server), name=f"heal {server.name}") for server in self._servers]

    async def stop(self) -> None:
        """Leave the servers alone."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _heal(self, server: NatsServer) -> None:
        patience = ALONE_SECONDS if len(self._servers) == 1 else CLUSTERED_SECONDS
        pause = FIRST_PAUSE_SECONDS
        restarted_at = -math.inf
        changed_at, refused = time.monotonic(), False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            refuses = await server.refuses_writes() and _has_room(server)
            now = time.monotonic()
            if refuses != refused:
                changed_at, refused = now, refuses
            if not refuses and now - changed_at > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            if not refuses or now - changed_at < patience or now - restarted_at < pause:
                continue
            restarted_at, changed_at, pause = now, now, min(2 * pause, MAX_PAUSE_SECONDS)
            self._watch.sink("devstack", f"{server.name}: a stream refuses writes and the disk has room; restarting it")
            # It ends in order, and is then started again as after any other end.
            server.process.kill(server.process.program.stop_signal)


def _has_room(server: NatsServer) -> bool:
    return server.folder.exists() and shutil.disk_usage(server.folder).free >= MIN_FREE_BYTES
