"""The kinds of faults: what each does, to whom, and which delivery shows that it is over."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import psycopg
from tests.attacks.floods import ALL, KINDS
from tests.attacks.process import attacked
from tests.testkit.small_disk import SmallDisk

from .application_processes import RELAY, WRITER
from .clocks import Clocks
from .processes import LEADER, Processes
from .routes import GATEWAY, Routes

SERVICES = ("postgres", "nats", "gateway", "tasks", "relay", "subscriptions", "longpoll")
# Of an application of one's own, if there is one.
APPLICATION = (RELAY, WRITER)
FROZEN = ("nats", "postgres", "longpoll", "relay", "tasks", "subscriptions")
RESTARTED = ("nats", "postgres")
FREEZE_SECONDS = (1.0, 12.0)
# Long freezes are rare, so that a run has room for all kinds.
FREEZE_MEAN_SECONDS = 3.0
FULL_SECONDS = (2.0, 8.0)
MOVED = ("longpoll", "subscriptions")
# From 5 s on a process is unready; from 60 s on others refuse its uids, and no fault of this size comes unnoticed.
SHIFT_SECONDS = (1.0, 50.0)
MOVED_SECONDS = (2.0, 8.0)
# What others give back on a full disk is taken again.
REFILL_SECONDS = 0.2
# Longer than delivery may take to be back: it goes on while maintenance waits.
LOCK_SECONDS = 15.0
DOWN_SECONDS = (0.0, 5.0)
# More than a service has places.
FLOOD_CONNECTIONS = 1400
FLOOD_SECONDS = (1.0, 5.0)
# Opening them takes long on a full machine; the process ends by itself when this one is gone.
MAX_FLOOD_SECONDS = 60.0
BURST_SECONDS = (1.0, 3.0)
BURST_STEP_SECONDS = 0.2
CUT_PART = 0.2
DROP_PART = 0.3
PROXIES = "proxies"

# The keys of a test are young: one that was used is made a day older.
_EXPIRE_A_KEY = """
UPDATE idempotency_key SET created_at = now() - interval '25 hours'
WHERE ctid = (SELECT ctid FROM idempotency_key ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
"""
_LOCK_EXPIRED_KEYS = "SELECT FROM idempotency_key WHERE created_at < now() - interval '24 hours' FOR UPDATE SKIP LOCKED"

Act = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault. Shape: targets are hit in turn; a fault hits one of them."""

    name: str
    targets: tuple[str, ...]
    act: Act


def kinds(
    processes: Processes,
    routes: Routes,
    replicas: tuple[str, ...],
    disks: Mapping[str, SmallDisk],
    clocks: Clocks,
    chance: random.Random,
) -> list[Kind]:
    """Return every kind of fault that a stack can suffer; `disks` are those that can be filled, by their processes."""
    brokers = processes.broker_names
    groups = {name: processes.names(name) for name in APPLICATION if processes.names(name)}
    doer = _Doer(processes, routes, disks, clocks, chance)

    def of(verb: str, names: tuple[str, ...], act: Act) -> list[Kind]:
        several = {"longpoll": replicas, "nats": brokers, **groups}
        return [Kind(name=f"{verb} {name}", targets=several.get(name, (name,)), act=act) for name in names]

    leader = (LEADER,) if len(brokers) > 1 else ()
    return [
        *of("kill", (*SERVICES, *leader, *groups), processes.kill),
        *of("term", SERVICES, processes.terminate),
        *of("freeze", (*FROZEN, *leader, *groups), doer.freeze),
        *of("restart", RESTARTED, doer.restart),
        *of("fill", tuple(disks), doer.fill),
        *of("clock", MOVED, doer.move_clock),
        *of("flood", (GATEWAY,), doer.flood),
        Kind(name="slow maintenance", targets=("relay",), act=doer.lock_expired_key),
        Kind(name="cut connections", targets=(PROXIES,), act=doer.cut),
        Kind(name="drop answers", targets=(PROXIES,), act=doer.drop),
    ]


def matching(kinds: list[Kind], words: str) -> list[Kind]:
    """Return the kinds whose names have one of `words`; all when there are none."""
    return [kind for kind in kinds if not words or any(word in kind.name for word in words.split())]


class _Doer:
    """Faults that last for a random time."""

    def __init__(
        self,
        processes: Processes,
        routes: Routes,
        disks: Mapping[str, SmallDisk],
        clocks: Clocks,
        chance: random.Random,
    ) -> None:
        self._processes = processes
        self._routes = routes
        self._disks = disks
        self._clocks = clocks
        self._chance = chance
        self._locks: set[asyncio.Task[None]] = set()
        self._floods = itertools.cycle([ALL, *KINDS])

    async def freeze(self, name: str) -> None:
        shortest, longest = FREEZE_SECONDS
        seconds = min(longest, shortest + self._chance.expovariate(1 / FREEZE_MEAN_SECONDS))
        await self._processes.freeze(name, seconds)

    async def restart(self, name: str) -> None:
        await self._processes.restart(name, self._chance.uniform(*DOWN_SECONDS))

    async def fill(self, name: str) -> None:
        """Leave no room on a disk for a time."""
        disk = self._disks[name]
        ends_at = asyncio.get_running_loop().time() + self._chance.uniform(*FULL_SECONDS)
        try:
            while asyncio.get_running_loop().time() < ends_at:
                await asyncio.to_thread(disk.fill)
                await asyncio.sleep(REFILL_SECONDS)
        finally:
            disk.free()

    async def move_clock(self, name: str) -> None:
        """Set the wall clock of one process ahead or back for a time."""
        admin_url = self._processes.admin_url(name)
        shift = self._chance.choice((-1, 1)) * self._chance.uniform(*SHIFT_SECONDS)
        try:
            self._clocks.move(admin_url, shift)
            await asyncio.sleep(self._chance.uniform(*MOVED_SECONDS))
        finally:
            self._clocks.move(admin_url, 0.0)

    async def flood(self, name: str) -> None:
        """Let one host flood a server for a time; the first flood is of all kinds at once, then each kind in turn."""
        url = self._processes.url(name)
        kind = next(self._floods)
        async with attacked(kind, url, connections=FLOOD_CONNECTIONS, seconds=MAX_FLOOD_SECONDS):
            await asyncio.sleep(self._chance.uniform(*FLOOD_SECONDS))

    async def lock_expired_key(self, name: str) -> None:
        """Let a new relay meet an expired idempotency key that stays locked long after it has begun."""
        is_locked = asyncio.Event()
        lock = asyncio.create_task(self._hold_lock(is_locked))
        self._locks.add(lock)
        lock.add_done_callback(self._locks.discard)
        await is_locked.wait()
        await self._processes.kill(name)

    async def _hold_lock(self, is_locked: asyncio.Event) -> None:
        try:
            async with await psycopg.AsyncConnection.connect(self._processes.url("postgres")) as connection:
                async with connection.transaction():
                    await connection.execute(_EXPIRE_A_KEY)
                async with connection.transaction():
                    await connection.execute(_LOCK_EXPIRED_KEYS)
                    is_locked.set()
                    await asyncio.sleep(LOCK_SECONDS)
        except (psycopg.Error, OSError):
            # Another fault has ended Postgres, and so the lock.
            is_locked.set()

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
