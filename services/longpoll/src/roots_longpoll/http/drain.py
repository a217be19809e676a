"""The end of a replica: no event is lost, and clients come back at different moments (I8)."""

import asyncio
import time

from roots.runtime import logs
from roots_longpoll.delivery.dispatcher import PollDispatcher
from roots_longpoll.http.server_state import ServerState

STEP_SECONDS = 0.05
# The rest of the time is for polls whose record or backlog was still being read, and for slow clients.
_WINDOW_PART = 0.8

log = logs.get(__name__)


async def drain(
    dispatcher: PollDispatcher, server: ServerState, listener: asyncio.Server, *, seconds: float, linger_seconds: float
) -> bool:
    """Answer the held polls evenly over the window, then end the connections; return whether none was cut off.

    Takes at most `seconds`.

    Units: linger_seconds of it new connections are still taken, so that what balances in front can notice.
    """
    started = time.monotonic()
    server.is_draining = True
    lingering = asyncio.create_task(_close_after(listener, server, min(linger_seconds, seconds)))
    steps = max(1, int(seconds * _WINDOW_PART / STEP_SECONDS))
    due = 0.0
    for step in range(steps):
        # A poll that still comes, on a connection that was kept alive, takes its turn like the others.
        polls = dispatcher.held.polls
        # The fraction is carried on: rounded up, a few polls would all be answered at the window's beginning.
        due += len(polls) / (steps - step)
        for poll in polls[: round(due)]:
            dispatcher.release(poll)
        due -= round(due)
        if not polls and lingering.done():
            break
        await asyncio.sleep(STEP_SECONDS)
    await lingering
    dispatcher.is_draining = True
    while time.monotonic() - started < seconds:
        for poll in dispatcher.held.polls:
            dispatcher.release(poll)
        server.end_idle()
        # Closing a connection flushes it first; a client that does not read gets what is left of the time.
        if not len(server):
            break
        await asyncio.sleep(STEP_SECONDS)
    log.info("drained", seconds=round(time.monotonic() - started, 2), connections_left=len(server))
    return not len(server)


async def _close_after(listener: asyncio.Server, server: ServerState, seconds: float) -> None:
    await asyncio.sleep(seconds)
    listener.close()
    # A connection that was taken just before may have its request on the way.
    await asyncio.sleep(STEP_SECONDS)
    # A proxy would go on to send polls through the connections that it keeps, and prefers the replica with the fewest.
    server.end_idle()
