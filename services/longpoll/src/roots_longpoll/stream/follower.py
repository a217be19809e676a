"""Follows a stream live, and repairs what does not come live.

JetStream republishes each stored message to a core subscription: fast, and live again a second after a restart, but a
message may be lost. So the sequence of each message is checked, and a hole is read from the stream. The stream's end
is compared every few seconds and after each reconnect, since a lost tail shows no hole.
Source: docs/adr/0002-live-by-republish.md.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from roots.nats.reader import JetStreamReader, read_between
from roots.nats.stored import TIME_HEADER, Stored
from roots.nats.streams import NatsUnavailableError, StreamState
from roots.runtime import logs
from roots.runtime.episodes import Episode

# From a comparison on, polls are served for 30 s without NATS: so it may be away for 28 s at least.
RECONCILE_SECONDS = 2.0
RETRY_SECONDS = 0.25
MAX_RETRY_SECONDS = 2.0
# So many messages are looked for when a stream has to be known again; mostly the first is there.
MARKS = 16
# What was published a moment ago may still be on its way here.
IN_FLIGHT_SECONDS = 0.05
# A view that could not be compared for this long has missed several turns.
MAX_READY_AGE_SECONDS = 12.0
# Beyond this the ring starts again near the stream's end, and polls that are further back read the stream.
MAX_FILL = 8192

log = logs.get(__name__)


class Sink(Protocol):
    """Takes in the messages of a stream, in ascending order of their sequences."""

    def begin(self, epoch: int, after: int, messages: list[Stored], head: int, epoch_start: int) -> None:
        """Forget what was; the stream of `epoch` has `messages` between `after` and `head`.

        Shape: what is stored up to epoch_start was there before `epoch` began.
        """

    def receive(self, message: Stored) -> None:
        """Take in the next message."""

    def skip_to(self, seq: int) -> None:
        """Note that the stream has nothing up to `seq`."""

    def verified(self) -> None:
        """Note that everything stored a moment ago has been taken in."""


class Follower:
    """Feeds one stream to a sink, without a hole.

    Shape: preload is how many of the latest messages the sink gets at the start. has_holes is true where sequences go
        missing by rule (a bucket keeps the last record of each key), so that a missing one is no lost message. on_state
        takes the stream's state each time that it was asked for. renew has the stream get an epoch after its argument;
        without it, a stream that is shorter than it was starts again in the same epoch.
    """

    def __init__(
        self,
        reader: JetStreamReader,
        *,
        stream: str,
        subjects: str,
        sink: Sink,
        preload: int,
        has_holes: bool,
        on_state: Callable[[StreamState], None] | None = None,
        renew: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self.repairs = 0
        self.repaired_messages = 0
        self._reader = reader
        self._renew = renew
        self._stream = stream
        self._subjects = subjects
        self._sink = sink
        self._preload = preload
        self._has_holes = has_holes
        self._on_state = on_state
        self._epoch = 0
        self._last = -1
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._verified_at = -math.inf
        # Live messages that came while what is before them was read. Beyond the bound the oldest go: a hole is read.
        self._waiting: deque[Stored] = deque(maxlen=MAX_FILL)
        self._is_behind = asyncio.Event()
        self._is_live = False
        # The latest messages, by which a stream is known again.
        self._marks: deque[Stored] = deque(maxlen=MARKS)
        # After each break of the live connection the stream may be another one, until it was compared.
        self._breaks = 0
        self._is_compared = False
        self._may_take = False
        self._failures = Episode(log, "reconcile", stream=stream)

    @property
    def age_seconds(self) -> float:
        """How long ago the view was known to be complete; infinite before the first time."""
        return time.monotonic() - self._verified_at

    @property
    def is_ready(self) -> bool:
        """Whether the view can be trusted to be complete."""
        return self.age_seconds < MAX_READY_AGE_SECONDS

    def wake(self) -> None:
        """Reconcile now: the connection is back, or something was dropped."""
        self._wake.set()

    def set_live(self, *, is_live: bool) -> None:
        """Note whether live messages come, and reconcile now; while they don't, several times a second."""
        self._is_live = is_live
        self._breaks += 1
        self._is_compared = self._may_take = False
        self._wake.set()

    def receive(self, message: Stored) -> None:
        """Take a live message, now when it is the next one."""
        if message.seq == self._last + 1 and self._may_take:
            self._take(message)
        elif not self._may_take or message.seq > self._last:
            self._waiting.append(message)
            self._is_behind.set()
        else:
            # A repeat after a repair, or a stream that was created again; reconciling shows which.
            self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reconcile_in_rounds())
            group.create_task(self._catch_up())

    async def _reconcile_in_rounds(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._reconcile()
            except NatsUnavailableError as error:
                self._failures.failed(str(error))
                pause = self._failures.pause(RETRY_SECONDS, MAX_RETRY_SECONDS)
            else:
                self._failures.ended()
                pause = RECONCILE_SECONDS if self._is_live else RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _catch_up(self) -> None:
        """Take the messages that wait, after what is missing before them."""
        failures = Episode(log, "repair", stream=self._stream)
        while True:
            await self._is_behind.wait()
            self._is_behind.clear()
            async with self._closed():
                try:
                    await self._take_waiting()
                except NatsUnavailableError as error:
                    failures.failed(str(error))
                    self._waiting.clear()
                    self._wake.set()
                else:
                    failures.ended()

    async def _take_waiting(self) -> None:
        while self._waiting and self._is_compared:
            message = self._waiting.popleft()
            if message.seq > self._last + 1:
                await self._fill(message.seq - 1)
            if message.seq == self._last + 1:
                self._take(message)
            else:
                # As in `receive`: what was read from the stream comes live too, or the stream was created again.
                self._wake.set()

    @asynccontextmanager
    async def _closed(self) -> AsyncIterator[None]:
        """Let no live message be taken during the block; they wait."""
        async with self._lock:
            self._may_take = False
            try:
                yield
            finally:
                self._may_take = self._is_compared

    async def _reconcile(self) -> None:
        before, breaks = self._last, self._breaks
        state = await self._reader.state()
        if self._on_state is not None:
            self._on_state(state)
        if self._epoch == state.epoch and self._last < state.last:
            await asyncio.sleep(IN_FLIGHT_SECONDS)
        async with self._closed():
            is_other = state.epoch != self._epoch or state.last < before or not await self._is_known()
            if is_other:
                state = await self._in_new_epoch(state)
            # Below `first` nothing can be repaired; polls that were there learn of it when they read the stream.
            is_cut = not self._has_holes and state.first > self._last + 1
            if is_other or is_cut or state.last - self._last > MAX_FILL:
                await self._begin(state)
            elif state.last > self._last:
                await self._fill(state.last)
            self._is_compared = breaks == self._breaks
            self._verified_at = time.monotonic()
            self._sink.verified()
        if self._waiting:
            self._is_behind.set()

    async def _is_known(self) -> bool:
        """Return whether the stream still has what it had: a restored one has other messages of these sequences.

        In a stream that keeps the last of each subject, all of them may have been replaced. Then it counts as another
        stream if the live connection broke meanwhile.
        """
        for mark in reversed(self._marks):
            stored_at = await self._reader.time_of(mark.seq)
            if stored_at is not None:
                return stored_at == mark.headers.get(TIME_HEADER)
        return not self._marks or not self._has_holes or self._is_compared

    async def _in_new_epoch(self, state: StreamState) -> StreamState:
        """Return `state` in an epoch after the one that was followed, which the stream gets when it has none."""
        if self._renew is None or state.epoch > self._epoch:
            return state
        log.warning("stream_shorter", stream=self._stream, epoch=self._epoch, was=self._last, last=state.last)
        await self._renew(self._epoch)
        state = await self._reader.state()
        if state.epoch <= self._epoch:
            raise NatsUnavailableError(f"{self._stream} is shorter than it was, and has no new epoch yet")
        return state

    async def _begin(self, state: StreamState) -> None:
        after = max(state.first - 1, state.last - self._preload, 0)
        reading = read_between(self._reader, after, state.last, self._subjects)
        messages = [message async for message in reading] if self._preload else []
        log.info("stream_followed", stream=self._stream, epoch=state.epoch, first=state.first, last=state.last)
        if self._waiting:
            # It may be of the stream before, or be newer than `state`: the next round, now, shows which.
            self._waiting.clear()
            self._wake.set()
        marks = messages
        if not marks and state.last and (stored_at := await self._reader.time_of(state.last)) is not None:
            marks = [Stored(state.last, "", {TIME_HEADER: stored_at}, b"")]
        # From here on nothing is awaited: a beginning that fails half-way would never be tried again.
        self._epoch = state.epoch
        self._last = state.last
        self._marks.clear()
        self._marks.extend(marks)
        self._sink.begin(state.epoch, after, messages, state.last, state.epoch_start)

    async def _fill(self, upto: int) -> None:
        """Read what is missing up to `upto` from the stream."""
        self.repairs += 1
        log.info("repair_started", stream=self._stream, after=self._last, upto=upto)
        async for message in read_between(self._reader, self._last, upto, self._subjects):
            self._take(message)
            self.repaired_messages += 1
        if self._last < upto:
            self._last = upto
            self._sink.skip_to(upto)

    def _take(self, message: Stored) -> None:
        self._last = message.seq
        self._marks.append(message)
        self._sink.receive(message)
