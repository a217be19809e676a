"""The kinds of faults: what each does, to whom, and which delivery shows that it is over."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .processes import LEADER, Processes
from .routes import Routes

SERVICES = ("postgres", "nats", "gateway", "tasks", "relay", "subscriptions", "longpoll")
FROZEN = ("nats", "postgres", "longpoll", "relay", "tasks", "subscriptions")
RESTARTED = ("nats", "postgres")
FREEZE_SECONDS = (1.0, 12.0)
# Long freezes are rare, so that a run has room for all kinds.
FREEZE_MEAN_SECONDS = 3.0
DOWN_SECONDS = (0.0, 5.0)
BURST_SECONDS = (1.0, 3.0)
BURST_STEP_SECONDS = 0.2
CUT_PART = 0.2
DROP_PART = 0.3
PROXIES = "proxies"

Act = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault. Shape: targets are hit in turn; a fault hits one of them."""

    name: str
    targets: tuple[str, ...]
    act: Act


def kinds(processes: Processes, routes: Routes, replicas: tuple[str, ...], chance: random.Random) -> list[Kind]:
    """Return every kind of fault that a stack can suffer."""
    brokers = processes.broker_names
    doer = _Doer(processes, routes, chance)

    def of(verb: str, names: tuple[str, ...], act: Act) -> list[Kind]:
        several = {"longpoll": replicas, "nats": brokers}
        return [Kind(name=f"{verb} {name}", targets=several.get(name, (name,)), act=act) for name in names]

    leader = (LEADER,) if len(brokers) > 1 else ()
    return [
        *of("kill", (*SERVICES, *leader), processes.kill),
        *of("term", SERVICES, processes.terminate),
        *of("freeze", (*FROZEN, *leader), doer.freeze),
        *of("restart", RESTARTED, doer.restart),
        Kind(name="cut connections", targets=(PROXIES,), act=doer.cut),
        Kind(name="drop answers", targets=(PROXIES,), act=doer.drop),
    ]


def matching(kinds: list[Kind], words: str) -> list[Kind]:
    """Return the kinds whose names have one of `words`; all when there are none."""
    return [kind for kind in kinds if not words or any(word in kind.name for word in words.split())]


class _Doer:
    """Faults that last for a random time."""

    def __init__(self, processes: Processes, routes: Routes, chance: random.Random) -> None:
        self._processes = processes
        self._routes = routes
        self._chance = chance

    async def freeze(self, name: str) -> None:
        shortest, longest = FREEZE_SECONDS
        seconds = min(longest, shortest + self._chance.expovariate(1 / FREEZE_MEAN_SECONDS))
        await self._processes.freeze(name, seconds)

    async def restart(self, name: str) -> None:
        await self._processes.restart(name, self._chance.uniform(*DOWN_SECONDS))

    async def cut(self, _target: str) -> None:
        for _ in range(self._steps()):
            for proxy in self._routes.proxies:
                proxy.cut(CUT_PART)
            await asyncio.sleep(BURST_STEP_SECONDS)

    async def drop(self, _target: str) -> None:
        usual = [proxy.drops for proxy in self._routes.proxies]
        try:
            for proxy in self._routes.proxies:
                proxy.drops = DROP_PART
            await asyncio.sleep(self._chance.uniform(*BURST_SECONDS))
        finally:
            for proxy, drops in zip(self._routes.proxies, usual, strict=True):
                proxy.drops = drops

    def _steps(self) -> int:
        return round(self._chance.uniform(*BURST_SECONDS) / BURST_STEP_SECONDS)
