"""Follows a stream live, and repairs what the live way loses.

JetStream republishes each stored message to a core subscription: fast, and live again a second after a restart, but a
message may be lost on the way. So the sequence of each message is checked, a hole is read from the stream, and the
stream's end is compared every few seconds and after each reconnect, since a lost tail shows no hole.
Source: docs/adr/0002-live-by-republish.md.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from nats.aio.client import Client

from roots_common import logs
from roots_common.stored import Stored
from roots_common.streams import StreamState
from roots_longpoll.errors import BrokerUnavailableError
from roots_longpoll.stored import StreamReader

RECONCILE_SECONDS = 5.0
RETRY_SECONDS = 0.25
# What was published a moment ago may still be on its live way.
IN_FLIGHT_SECONDS = 0.05
# A view that reconciles every five seconds and could not for this long has missed two turns.
MAX_READY_AGE_SECONDS = 12.0
BATCH = 256
# Beyond this the ring begins anew near the stream's end, and polls that are further back read the stream.
MAX_FILL = 8192

log = logs.get(__name__)


class Sink(Protocol):
    """Takes in what a stream tells, in ascending order of its sequences."""

    def begin(self, epoch: int, after: int, messages: list[Stored], head: int) -> None:
        """Forget what was; the stream of `epoch` has `messages` between `after` and `head`."""

    def receive(self, message: Stored) -> None:
        """Take in the next message."""

    def skip_to(self, seq: int) -> None:
        """Note that the stream has nothing up to `seq`."""

    def verified(self) -> None:
        """Note that everything stored a moment ago has been taken in."""


class Follower:
    """Feeds one stream to a sink, without a hole.

    Shape: preload is how many of the latest messages the sink gets at the beginning; has_holes tells that sequences go
        missing by rule (a bucket keeps the last record of each key), so that a missing one is no lost message. on_state
        takes the stream's state each time that it was asked for.
    """

    def __init__(
        self,
        client: Client,
        *,
        stream: str,
        subjects: str,
        sink: Sink,
        preload: int,
        has_holes: bool,
        on_state: Callable[[StreamState], None] | None = None,
    ) -> None:
        self.repairs = 0
        self.repaired_messages = 0
        self._reader = StreamReader(client, stream)
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
        """Note whether the live way is open, and reconcile now; while it is not, over and over again."""
        self._is_live = is_live
        self._wake.set()

    def receive(self, message: Stored) -> None:
        """Take a message from the live way, now when it is the next one."""
        if message.seq == self._last + 1 and not self._lock.locked():
            self._take(message)
        elif self._lock.locked() or message.seq > self._last >= 0:
            self._waiting.append(message)
            self._is_behind.set()
        else:
            # A repeat after a repair, or a stream that began anew; reconciling tells which.
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
                pause = RECONCILE_SECONDS if self._is_live else RETRY_SECONDS
            except BrokerUnavailableError as error:
                log.warning("reconcile_failed", stream=self._stream, detail=str(error))
                pause = RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _catch_up(self) -> None:
        """Take the messages that wait, after what is missing before them."""
        while True:
            await self._is_behind.wait()
            self._is_behind.clear()
            async with self._lock:
                try:
                    await self._take_waiting()
                except BrokerUnavailableError as error:
                    log.warning("repair_failed", stream=self._stream, detail=str(error))
                    self._waiting.clear()
                    self._wake.set()

    async def _take_waiting(self) -> None:
        while self._waiting:
            message = self._waiting.popleft()
            if message.seq > self._last + 1:
                await self._fill(message.seq - 1)
            if message.seq == self._last + 1:
                self._take(message)
            else:
                # As in `receive`: what was read from the stream comes on the live way too, or the stream began anew.
                self._wake.set()

    async def _reconcile(self) -> None:
        before = self._last
        state = await self._reader.state()
        if self._on_state is not None:
            self._on_state(state)
        if self._epoch == state.epoch and self._last < state.last:
            await asyncio.sleep(IN_FLIGHT_SECONDS)
        async with self._lock:
            is_other = state.epoch != self._epoch or state.last < before
            # Below `first` nothing can be repaired; polls that were there hear of it when they read the stream.
            is_cut = not self._has_holes and state.first > self._last + 1
            if is_other or is_cut or state.last - self._last > MAX_FILL:
                await self._begin(state)
            elif state.last > self._last:
                await self._fill(state.last)
            self._verified_at = time.monotonic()
            self._sink.verified()

    async def _begin(self, state: StreamState) -> None:
        after = max(state.first - 1, state.last - self._preload, 0)
        messages = [message async for message in self._read(after, state.last)] if self._preload else []
        log.info("stream_followed", stream=self._stream, epoch=state.epoch, first=state.first, last=state.last)
        if self._waiting:
            # It may be of the stream that was, or came after the end that was told: the next round, now, tells which.
            self._waiting.clear()
            self._wake.set()
        self._epoch = state.epoch
        self._last = state.last
        self._sink.begin(state.epoch, after, messages, state.last)

    async def _fill(self, upto: int) -> None:
        """Read what is missing up to `upto` from the stream."""
        self.repairs += 1
        log.info("repair_started", stream=self._stream, after=self._last, upto=upto)
        async for message in self._read(self._last, upto):
            self._take(message)
            self.repaired_messages += 1
        if self._last < upto:
            self._last = upto
            self._sink.skip_to(upto)

    async def _read(self, after: int, upto: int) -> AsyncIterator[Stored]:
        """Yield every message that the stream has after `after` up to `upto`, and none beyond: that comes live."""
        while after < upto:
            batch = await self._reader.batch(seq=after + 1, subject=self._subjects, limit=min(BATCH, upto - after))
            for message in batch.messages:
                if message.seq > upto:
                    return
                after = message.seq
                yield message
            if batch.has_more or after >= upto:
                continue
            # A server that lags ends its batch early; only the leader knows whether there is really nothing.
            following = await self._reader.next_seq(after + 1)
            if following is None or following > upto:
                return
            await asyncio.sleep(IN_FLIGHT_SECONDS)

    def _take(self, message: Stored) -> None:
        self._last = message.seq
        self._sink.receive(message)
