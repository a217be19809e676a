"""The end of a replica: nobody loses an event, and nobody comes back at the same moment as all the others (I8)."""

import asyncio
import time

from roots_common import logs
from roots_longpoll.connections import Connections
from roots_longpoll.desk import Desk

STEP_SECONDS = 0.05
# The rest of the time is for polls whose record or backlog was still being read, and for slow clients.
_WINDOW_PART = 0.8

log = logs.get(__name__)


async def drain(
    desk: Desk, connections: Connections, listener: asyncio.Server, *, seconds: float, linger_seconds: float
) -> None:
    """Answer the held polls evenly over the window, then end the connections; takes at most `seconds`.

    Units: linger_seconds of it new connections are still taken, so that what balances in front can notice.
    """
    started = time.monotonic()
    desk.is_draining = connections.is_draining = True
    lingering = asyncio.create_task(_close_after(listener, min(linger_seconds, seconds)))
    window = seconds * _WINDOW_PART
    steps = max(1, int(window / STEP_SECONDS))
    polls = desk.polls
    for step in range(steps):
        for poll in polls[len(polls) * step // steps : len(polls) * (step + 1) // steps]:
            desk.release(poll)
        if not desk.held_count and lingering.done():
            break
        await asyncio.sleep(STEP_SECONDS)
    while (desk.held_count or not lingering.done()) and time.monotonic() - started < seconds:
        for poll in desk.polls:
            desk.release(poll)
        await asyncio.sleep(STEP_SECONDS)
    await lingering
    # A connection that was taken just before the listener closed may have its request on the way.
    await asyncio.sleep(STEP_SECONDS)
    connections.end_idle()
    # Closing a connection flushes it first; a client that does not read gets what is left of the time.
    while len(connections) and time.monotonic() - started < seconds:  # noqa: ASYNC110  # once, at the end of a process
        await asyncio.sleep(STEP_SECONDS)
    log.info("drained", seconds=round(time.monotonic() - started, 2), connections_left=len(connections))


async def _close_after(listener: asyncio.Server, seconds: float) -> None:
    await asyncio.sleep(seconds)
    listener.close()
