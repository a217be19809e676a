"""The world outside the desk: records and replays fetched from NATS, and the report of who is still polling.

Each question runs as a task of its own, bounded in number and in time, and ends in a call of the desk.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import nats.errors
from nats.aio.client import Client as BrokerClient

from roots.contracts.requests import MAX_RENEWALS, RENEWAL_SECONDS
from roots.contracts.subjects import GRANT_RENEWAL
from roots.runtime import logs
from roots_longpoll.delivery.dispatcher import Desk
from roots_longpoll.delivery.grants import Client
from roots_longpoll.delivery.poll import Poll
from roots_longpoll.errors import BrokerUnavailableError, ReplayRefusedError
from roots_longpoll.stream.follower import Follower
from roots_longpoll.stream.lookups import Lookups
from roots_longpoll.stream.replay import Replayer

log = logs.get(__name__)


class World:
    """Answers what a desk asks.

    Shape: desk is set once it exists, the others once NATS is connected; until then the desk is asked nothing.
    """

    desk: Desk
    client: BrokerClient
    events: Follower
    lookups: Lookups
    replayer: Replayer

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def look_up(self, poll: Poll) -> None:
        """Fetch the grant record for `poll`."""
        self.lookups.ask(poll)

    def replay(self, poll: Poll, starts: list[tuple[str, int]]) -> None:
        """Read the stream for `poll`."""
        if isinstance(poll.client, Client):
            self.spawn(self._replay(poll, tuple(starts), poll.client))

    def check_head(self) -> None:
        """Let the follower compare the head with the stream's end."""
        self.events.wake()

    def defer(self, function: Callable[[], None]) -> None:
        """Call `function` in the loop's next turn."""
        self._loop.call_soon(function)

    async def touch(self) -> None:
        """Report the uids that polled since the last report, so that their records are kept."""
        uids = [uid.decode() for uid in self.desk.take_served()]
        for start in range(0, len(uids), MAX_RENEWALS):
            try:
                await self.client.request(
                    GRANT_RENEWAL, json.dumps(uids[start : start + MAX_RENEWALS]).encode(), timeout=RENEWAL_SECONDS
                )
            except (nats.errors.Error, TimeoutError, OSError) as error:
                # A record lives for an hour; the next report comes in a minute.
                log.warning("touch_failed", error=type(error).__name__)

    async def close(self) -> None:
        """Cancel what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` as a task that ends with the world."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replay(self, poll: Poll, starts: tuple[tuple[str, int], ...], read_for: Client) -> None:
        try:
            replay = await self.replayer.read(starts)
        except (BrokerUnavailableError, ReplayRefusedError) as error:
            log.warning("replay_failed", error=type(error).__name__, detail=str(error))
            self.desk.unavailable(poll, "The log could not be read in time.")
        else:
            self.desk.replayed(poll, replay, read_for)
