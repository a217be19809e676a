"""Which fault comes when: shuffled rounds of all kinds, one at a time, sometimes two at once, with pauses between."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator

from roots_devstack.errors import DevstackError

from .faults import PROXIES, Kind
from .history import Fault
from .processes import Processes

MIN_ROUNDS = 5
PAIR_PART = 0.12
# Between two faults, so that delivery goes on for a while; shorter when the rounds would not fit otherwise.
PAUSE_SECONDS = (0.5, 2.0)


def rounds(kinds: list[Kind], chance: random.Random) -> Iterator[list[tuple[Kind, str]]]:
    """Yield for ever which faults begin at once: one or two, each kind once in a round, its targets in turn."""
    turns: dict[str, int] = {}
    while True:
        left = list(kinds)
        chance.shuffle(left)
        while left:
            size = 2 if len(left) > 1 and chance.random() < PAIR_PART else 1
            batch = []
            for kind in left[:size]:
                turn = turns[kind.name] = turns.get(kind.name, -1) + 1
                batch.append((kind, kind.targets[turn % len(kind.targets)]))
            del left[:size]
            # Two faults of one process would be one.
            if len({target for _, target in batch}) == len(batch):
                yield batch
            else:
                yield from ([one] for one in batch)


async def no_rest() -> None:
    """Wait for nothing."""


class Schedule:
    """Lets faults happen; after each it waits for `rest`, too, so that the next does not hide how late that comes.

    Shape: faults is what happened; failures are processes that were not ready again in time.
    """

    def __init__(
        self,
        kinds: list[Kind],
        processes: Processes,
        chance: random.Random,
        rest: Callable[[], Awaitable[None]] = no_rest,
    ) -> None:
        self.faults: list[Fault] = []
        self.failures: list[str] = []
        self._kinds = kinds
        self._processes = processes
        self._chance = chance
        self._rest = rest

    async def run(self, seconds: float) -> None:
        """Let faults happen for `seconds`; the last is over when this returns."""
        ends_at = time.monotonic() + seconds
        for batch in rounds(self._kinds, self._chance):
            if time.monotonic() >= ends_at:
                return
            await asyncio.gather(*(self._happen(kind, target) for kind, target in batch))
            await asyncio.sleep(self._pause_seconds(ends_at))

    async def _happen(self, kind: Kind, target: str) -> None:
        try:
            name = await self._processes.resolve(target)
            began_at = time.monotonic()
            await kind.act(name)
            over_at = time.monotonic()
            if target != PROXIES:
                await self._processes.wait_ready(name)
            ready_at = time.monotonic()
            await self._rest()
        except (DevstackError, TimeoutError) as error:
            self.failures.append(f"{kind.name} of {target}: {error!r}")
            return
        self.faults.append(Fault(kind=kind.name, target=name, began_at=began_at, over_at=over_at, ready_at=ready_at))

    def _pause_seconds(self, ends_at: float) -> float:
        """Return a random pause, or almost none when the rounds that are due would not fit in the time left."""
        shortest, longest = PAUSE_SECONDS
        missing = MIN_ROUNDS * len(self._kinds) - len(self.faults)
        if missing <= 0 or not self.faults:
            return self._chance.uniform(shortest, longest)
        first = self.faults[0].began_at
        needed = missing * (time.monotonic() - first) / len(self.faults)
        return shortest if needed > ends_at - time.monotonic() else self._chance.uniform(shortest, longest)
