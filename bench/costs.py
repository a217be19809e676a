"""What single things cost one replica: a poll more when there are few and when there are many, an event for nobody."""

import asyncio
import itertools
import statistics
import time

from bench.crowd import Crowd, Poller, message_of
from bench.scenarios import Figures
from bench.targets import Target
from bench.usage import cpu_seconds

_QUIET_SECONDS = 2.0
_LOOK_SECONDS = 0.01
_PATHS = 1000
# The median of so many batches stands for each cost: what else a process does now and then is in some of them.
_BATCHES = 5


async def costs(target: Target, *, few: int, many: int, added: int, events: int, size_bytes: int) -> Figures:
    """Add polls to a `few`, and to `many`; then publish events that no poll waits for."""
    pollers = await target.pollers([("bench",)] * (many + _BATCHES * added))
    crowd = Crowd(pollers)
    waiting = iter(pollers)
    await _cost_of_adding(target, crowd, list(itertools.islice(waiting, few)))
    at_few = [await _cost_of_adding(target, crowd, list(itertools.islice(waiting, added))) for _ in range(_BATCHES)]
    await _cost_of_adding(target, crowd, list(itertools.islice(waiting, many - few - _BATCHES * added)))
    at_many = [await _cost_of_adding(target, crowd, list(itertools.islice(waiting, added))) for _ in range(_BATCHES)]
    figures = {
        "add_poll_us_at_few": statistics.median(at_few),
        "add_poll_us_at_many": statistics.median(at_many),
        "add_poll_ratio": statistics.median(at_many) / statistics.median(at_few),
    }
    await crowd.settled()
    idle = await _idle_cores(target)
    cpu, began = cpu_seconds(target.pids), time.perf_counter()
    for number in range(events):
        await target.publisher.send(f"unheard-{number % _PATHS}", message_of(number, size_bytes))
        if target.publisher.unanswered >= _PATHS:
            await target.publisher.flushed()
    await target.publisher.flushed()
    passed = time.perf_counter() - began
    figures["unheard_event_us"] = (cpu_seconds(target.pids) - cpu - idle * passed) / events * 1e6
    figures["unheard_events_per_second"] = events / passed
    crowd.close()
    return figures


async def _cost_of_adding(target: Target, crowd: Crowd, pollers: list[Poller]) -> float:
    """Return the microseconds of CPU for each of `pollers`: its connection, its confirmation and its held poll."""
    answers, cpu = crowd.answers + len(pollers), cpu_seconds(target.pids)
    await crowd.connect_some(pollers, "127.0.0.1", target.port)
    while crowd.answers < answers:  # noqa: ASYNC110  # what an answer does must cost the client nothing
        await asyncio.sleep(_LOOK_SECONDS)
    # The last of them ask again, and are held.
    await asyncio.sleep(_LOOK_SECONDS)
    return (cpu_seconds(target.pids) - cpu) / len(pollers) * 1e6


async def _idle_cores(target: Target) -> float:
    """Return how much of a core is used while nothing is asked."""
    cpu, began = cpu_seconds(target.pids), time.perf_counter()
    await asyncio.sleep(_QUIET_SECONDS)
    return (cpu_seconds(target.pids) - cpu) / (time.perf_counter() - began)
