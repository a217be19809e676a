"""A stream without NATS, for those who read one; tests/stream/test_reader.py holds it against the real thing."""

import asyncio

from roots.nats.stored import TIME_HEADER, Batch, Stored
from roots.nats.streams import NatsUnavailableError, StreamState


class FakeStream:
    """A stream, as its leader and a server that may lag have it. Shape: waits is how often a reader reads meanwhile."""

    def __init__(self) -> None:
        self.epoch = 1
        self.first = 1
        self.last = 0
        self.messages: dict[int, Stored] = {}
        self.is_away = False
        self.lag = 0
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def store(self, count: int = 1, subject: str | None = None) -> list[Stored]:
        """Store so many messages; return them as they come live."""
        stored = []
        for _ in range(count):
            self.last += 1
            message = Stored(
                self.last, subject or f"s.{self.epoch}", {TIME_HEADER: f"{self.epoch}.{self.last}"}, b"%d" % self.last
            )
            self.messages[self.last] = message
            stored.append(message)
        return stored

    def create_again(self) -> None:
        """Become an empty stream of a later epoch."""
        self.epoch += 1
        self.first, self.last = 1, 0
        self.messages.clear()

    def purge(self, keep: int) -> None:
        """Forget all but the last messages."""
        self.first = max(self.first, self.last - keep + 1)
        for seq in [seq for seq in self.messages if seq < self.first]:
            del self.messages[seq]

    async def _come_through(self) -> None:
        self.reads += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise NatsUnavailableError("away")

    async def state(self) -> StreamState:
        """Return its extent."""
        await self._come_through()
        return StreamState(epoch=self.epoch, first=self.first, last=self.last)

    async def batch(self, *, seq: int, subject: str, limit: int) -> Batch:
        """Return messages from `seq` on, once the gate is open; a server that lags has not all of them."""
        await self._come_through()
        await self.gate.wait()
        found = [self.messages[one] for one in self._matching(seq, subject) if one <= self.last - self.lag]
        self.lag = 0
        return Batch(messages=found[:limit], has_more=len(found) > limit)

    async def time_of(self, seq: int) -> str | None:
        """Return when the message was stored."""
        await self._come_through()
        return self.messages[seq].headers[TIME_HEADER] if seq in self.messages else None

    async def next_seq(self, seq: int, subject: str = ">") -> int | None:
        """Return the first sequence of `subject` from `seq` on."""
        await self._come_through()
        return next(iter(self._matching(seq, subject)), None)

    def _matching(self, seq: int, subject: str) -> list[int]:
        """Return the sequences from `seq` on of a subject, which may end with a wildcard."""
        prefix = subject.removesuffix(">")
        return [
            one
            for one, message in sorted(self.messages.items())
            if one >= seq and (message.subject == subject or (prefix != subject and message.subject.startswith(prefix)))
        ]
