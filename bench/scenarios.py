"""What is done to a target, and which figures come of it.

Each scenario takes a running target and returns figures by name; the unit ends the name.
"""

import asyncio
import dataclasses
import random
import time
from collections.abc import Sequence

from bench.crowd import Crowd, Latency
from bench.errors import LoadError
from bench.targets import Target
from bench.usage import cpu_seconds, resident_bytes

Figures = dict[str, float]

WARM_UP_EVENTS = 3
# The load itself slips when the machine is full; beyond this the rate was not had.
_LATE_SECONDS = 0.5
_P99_LIMIT_MS = 100.0
_RATES = (1000, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 12_000, 15_000, 18_000, 21_000, 25_000, 30_000)


async def fanout(target: Target, *, polls: int, events_per_second: float, seconds: float, size_bytes: int) -> Figures:
    """Hold `polls` on one path, and send events at a steady pace."""
    crowd = await hold(target, [("bench",)] * polls)
    for _ in range(WARM_UP_EVENTS):
        await crowd.publish(target.publisher, "bench", size_bytes)
        await crowd.settled()
    figures = await steady(target, crowd, ["bench"], polls, events_per_second, seconds, size_bytes)
    crowd.close()
    return figures


async def mixed(
    target: Target,
    *,
    polls: int,
    paths: int,
    paths_of_poll: int,
    events_per_second: float,
    seconds: float,
    size_bytes: int,
) -> Figures:
    """Hold `polls`, each on some of many paths, and send events on paths taken by chance."""
    chance = random.Random(1)  # noqa: S311  # no secret
    names = [f"bench-{number}" for number in range(paths)]
    path_sets = [tuple(sorted(chance.sample(names, paths_of_poll))) for _ in range(polls)]
    crowd = await hold(target, path_sets)
    for name in names[:WARM_UP_EVENTS]:
        await crowd.publish(target.publisher, name, size_bytes)
    await crowd.settled()
    hearers = dict.fromkeys(names, 0)
    for path_set in path_sets:
        for name in path_set:
            hearers[name] += 1
    order = [chance.choice(names) for _ in range(int(events_per_second * seconds))]
    mean = sum(hearers[name] for name in order) / len(order)
    figures = await steady(target, crowd, order, mean, events_per_second, seconds, size_bytes)
    crowd.close()
    return figures


async def unicast(target: Target, *, polls: int, seconds: float, size_bytes: int) -> Figures:
    """Hold one poll on each path; raise the rate until p99 passes 100 ms, then look closer at half of what was had."""
    names = [f"bench-{number}" for number in range(polls)]
    crowd = await hold(target, [(name,) for name in names])
    chance = random.Random(1)  # noqa: S311  # no secret
    best: Figures = {}
    rate = 0.0
    for attempt in _RATES:
        order = chance.choices(names, k=int(attempt * seconds))
        figures = await steady(target, crowd, order, 1, attempt, seconds, size_bytes)
        if figures["p99_ms"] > _P99_LIMIT_MS or figures["lost"] or figures["late_seconds"] > _LATE_SECONDS:
            break
        best, rate = figures, attempt
    if not best:
        raise LoadError("the lowest rate was too much")
    half = await steady(
        target, crowd, chance.choices(names, k=int(rate / 2 * seconds)), 1, rate / 2, seconds, size_bytes
    )
    crowd.close()
    return best | {"max_events_per_second": rate, "half_p50_ms": half["p50_ms"], "half_p99_ms": half["p99_ms"]}


async def idle(target: Target, *, polls: int, seconds: float) -> Figures:
    """Hold `polls`, and send nothing."""
    before = resident_bytes(target.pids)
    crowd = await hold(target, [("bench",)] * polls)
    # The first answers are over; what was taken for them only is not what a held poll takes.
    held = resident_bytes(target.pids)
    cpu, began = cpu_seconds(target.pids), time.perf_counter()
    await asyncio.sleep(seconds)
    used, passed = cpu_seconds(target.pids) - cpu, time.perf_counter() - began
    figures = {
        "memory_bytes_per_poll": (held - before) / polls,
        "memory_bytes_per_poll_after": (resident_bytes(target.pids) - before) / polls,
        "core_percent": 100 * used / passed,
        "errors": float(crowd.errors + crowd.lost_connections),
    }
    crowd.close()
    return figures


async def hold(target: Target, path_sets: Sequence[tuple[str, ...]]) -> Crowd:
    """Return a crowd whose polls are all held."""
    crowd = Crowd(await target.pollers(path_sets))
    await crowd.connect("127.0.0.1", target.port)
    await crowd.settled()
    if crowd.errors or crowd.lost_connections:
        raise LoadError(f"{crowd.errors} errors and {crowd.lost_connections} lost connections before the load began")
    return crowd


async def steady(
    target: Target,
    crowd: Crowd,
    order: Sequence[str],
    hearers: float,
    events_per_second: float,
    seconds: float,
    size_bytes: int,
) -> Figures:
    """Send an event on each path of `order` in turn at a steady pace; `hearers` is how many receive one on average."""
    crowd.begin()
    count = int(events_per_second * seconds)
    expected = round(count * hearers)
    beside = {name: cpu_seconds(pids) for name, pids in target.beside.items()}
    cpu, own, began = cpu_seconds(target.pids), time.process_time(), time.perf_counter()
    late = 0.0
    for number in range(count):
        due = began + number / events_per_second
        now = time.perf_counter()
        if due > now:
            await asyncio.sleep(due - now)
        else:
            late = max(late, now - due)
            # Answers are read between two events, also when the pace can't be kept.
            await asyncio.sleep(0)
        await crowd.publish(target.publisher, order[number % len(order)], size_bytes)
    await target.publisher.flushed()
    await crowd.delivered(expected)
    passed = time.perf_counter() - began
    used = cpu_seconds(target.pids) - cpu
    deliveries = len(crowd.latencies)
    figures = {
        "cpu_us_per_delivery": used / deliveries * 1e6 if deliveries else 0.0,
        "client_us_per_delivery": (time.process_time() - own) / deliveries * 1e6 if deliveries else 0.0,
        "deliveries_per_second": deliveries / passed,
        "core_percent": 100 * used / passed,
        "lost": float(expected - deliveries),
        "disordered": float(crowd.disordered),
        "errors": float(crowd.errors + crowd.lost_connections),
        "late_seconds": late,
        "memory_bytes": float(resident_bytes(target.pids)),
    }
    for name, pids in target.beside.items():
        figures[f"{name}_us_per_event"] = (cpu_seconds(pids) - beside[name]) / count * 1e6
    return figures | dataclasses.asdict(Latency.of(crowd.latencies))
