"""Replay: reads from the stream what the ring no longer has, for polls whose cursor is older.

Polls with the same position share one reading; the readings under way and those that wait are bounded (I7).
"""

import asyncio

from roots.contracts.subjects import subject_of
from roots.nats.reader import JetStreamReader
from roots.nats.streams import NatsUnavailableError
from roots_longpoll.delivery.poll import Limits, Replay
from roots_longpoll.delivery.ring import Event, Ring, cut
from roots_longpoll.delivery.stats import Unreadable
from roots_longpoll.errors import ReplayRefusedError
from roots_longpoll.stream.sinks import event_of

DEADLINE_SECONDS = 10.0
# How long a server that lags gets to catch up before it is asked again.
LAG_SECONDS = 0.05
MAX_WAITING = 10_000

Starts = tuple[tuple[str, int], ...]


class Replayer:
    """Reads backlogs from the event stream: `slots` at a time, while MAX_WAITING more may wait."""

    def __init__(
        self, reader: JetStreamReader, ring: Ring, limits: Limits, unreadable: Unreadable, *, slots: int
    ) -> None:
        self.results = {"ok": 0, "failed": 0, "refused": 0, "shared": 0}
        self._reader = reader
        self._ring = ring
        self._limits = limits
        self._max_under_way = slots + MAX_WAITING
        self._unreadable = unreadable
        self._slots = asyncio.Semaphore(slots)
        self._under_way: dict[tuple[int, Starts], asyncio.Task[Replay]] = {}

    async def read(self, starts: Starts) -> Replay:
        """Return what the stream has after `starts`, up to the ring's tail.

        Errors: ReplayRefusedError when too many wait already; NatsUnavailableError when NATS has no answer in time.
        """
        # A reading of an older log is of no use to a poll that came after the log was created again.
        key = (self._ring.epoch, starts)
        task = self._under_way.get(key)
        if task is not None:
            self.results["shared"] += 1
        elif len(self._under_way) >= self._max_under_way:
            self.results["refused"] += 1
            raise ReplayRefusedError
        else:
            task = asyncio.create_task(self._read_in_slot(starts))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # One poll that goes away must not cancel the reading of the others.
        return await asyncio.shield(task)

    async def _read_in_slot(self, starts: Starts) -> Replay:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self._slots:
                replay = await self._read(starts)
        except (NatsUnavailableError, TimeoutError) as error:
            self.results["failed"] += 1
            raise NatsUnavailableError(f"replay: {type(error).__name__}") from error
        self.results["ok"] += 1
        return replay

    async def _read(self, starts: Starts) -> Replay:
        complete_to = self._ring.tail
        events: list[Event] = []
        for path, after in starts:
            found, complete_to = await self._read_path(path, after, complete_to)
            events += found
        # Asked after the reading, so that what expired meanwhile is reported too.
        state = await self._reader.state()
        expired = tuple(path for path, after in starts if after + 1 < state.first)
        # A log that is shorter than what was taken of it is about to get another epoch.
        is_same = state.last >= self._ring.tail
        events = sorted((event for event in events if event.seq <= complete_to), key=lambda event: event.seq)
        return Replay(
            backlog=cut(events, complete_to, self._limits.max_updates, self._limits.max_answer_bytes),
            expired=expired,
            epoch=state.epoch if is_same else 0,
        )

    async def _read_path(self, path: str, after: int, upto: int) -> tuple[list[Event], int]:
        """Return the events of `path` after `after`, and up to where they are all there are, `upto` at most."""
        subject = subject_of(path)
        while True:
            batch = await self._reader.batch(seq=after + 1, subject=subject, limit=self._limits.max_updates + 1)
            found = (event_of(message, self._unreadable) for message in batch.messages)
            events = [event for event in found if event is not None]
            last = batch.messages[-1].seq if batch.messages else after
            if batch.has_more or last >= upto:
                return events, min(last, upto)
            # A server that lags ends its batch early; only the leader knows whether there is really nothing more.
            following = await self._reader.next_seq(last + 1, subject)
            if following is None or following > upto:
                return events, upto
            await asyncio.sleep(LAG_SECONDS)
