"""Fetches the grant records of polls from NATS: one from the stream's leader, many at once from any server.

When a replica starts, all clients of the one before it come at once, and each of their records has to be read.
A record must be as new as the leader's at that moment (I5, I6). So the leader says where the bucket ends, and an
answer that does not reach as far is of no use.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from roots.contracts.subjects import GRANTS_PREFIX
from roots.nats.reader import JetStreamReader
from roots.nats.stored import Stored
from roots.nats.streams import NatsUnavailableError
from roots_longpoll.delivery.dispatcher import PollDispatcher
from roots_longpoll.delivery.grants import GrantsView, MaybeClient
from roots_longpoll.delivery.poll import Poll
from roots_longpoll.delivery.states import State
from roots_longpoll.stream.sinks import apply_record, uid_of

LOOKUP_SECONDS = 5.0
RETRY_SECONDS = 0.1
# A uid takes 60 bytes of the question; its record, of a few paths, half a KiB of the answer.
BATCH = 256
MAX_BATCHES = 8
# JetStream drops requests beyond 10,000 that wait.
MAX_SINGLES = 128


class Lookups:
    """Reads the records that polls need; each result goes to the dispatcher.

    Shape: spawn runs a coroutine as a task that its owner keeps.
    """

    def __init__(
        self,
        dispatcher: PollDispatcher,
        view: GrantsView,
        reader: JetStreamReader,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._view = view
        self._reader = reader
        self._spawn = spawn
        self._asked: list[Poll] = []
        self._workers = 0
        self._singles = asyncio.Semaphore(MAX_SINGLES)

    def ask(self, polls: Iterable[Poll]) -> None:
        """Read the records of `polls`, together with those that are asked for until there is a turn for them."""
        self._asked += polls
        if self._workers < MAX_BATCHES:
            self._workers += 1
            self._spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._asked:
                # Those who ask in the same turn of the loop share a question.
                await asyncio.sleep(0)
                polls = [poll for poll in self._asked[:BATCH] if poll.state is not State.DONE]
                del self._asked[:BATCH]
                await self._answer(polls)
        finally:
            self._workers -= 1

    async def _answer(self, polls: Sequence[Poll]) -> None:
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                found = await self._fetch([poll.uid for poll in polls])
        except TimeoutError:
            # Those who wait for their turn would not fare better.
            for poll in [*polls, *self._asked]:
                self._dispatcher.unavailable(poll, "NATS did not answer in time what this client may receive.")
            # A held poll goes on asking: what it may receive is in doubt until the store has answered (I5).
            self._asked += [poll for poll in polls if poll.state is not State.DONE]
        else:
            for poll in polls:
                self._dispatcher.grants_found(poll, found[poll.uid])

    async def _fetch(self, uids: Sequence[bytes]) -> dict[bytes, MaybeClient]:
        while True:
            times_voided = self._view.times_voided
            try:
                stored = await self._read(uids)
            except NatsUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                # A later change, or the record's end, may have come to the view meanwhile, and have been dropped there.
                if times_voided == self._view.times_voided:
                    return {uid: self._take(uid, stored.get(uid)) for uid in uids}

    async def _read(self, uids: Sequence[bytes]) -> Mapping[bytes, Stored | None]:
        """Return the stored records of `uids`; one that is missing or None is not in the store."""
        if len(uids) > 1:
            state = await self._reader.state()
            if not state.messages:
                return {}
            stored = await self._reader.last_of_many([_subject_of(uid) for uid in uids], up_to=state.last)
            if stored is not None:
                return {uid_of(message): message for message in stored}
        singles = await asyncio.gather(*(self._read_single(uid) for uid in uids))
        return dict(zip(uids, singles, strict=True))

    async def _read_single(self, uid: bytes) -> Stored | None:
        async with self._singles:
            return await self._reader.last_of(_subject_of(uid))

    def _take(self, uid: bytes, stored: Stored | None) -> MaybeClient:
        if stored is not None:
            return apply_record(self._view, stored, self._dispatcher.stats.unreadable)
        return self._view.note_absent(uid)


def _subject_of(uid: bytes) -> str:
    return GRANTS_PREFIX + uid.decode()
