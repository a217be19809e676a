"""All clients lose their replica at once, and come back with their cursors to another one or to its successor."""

import asyncio
import random
import re
import time

from bench.crowd import Crowd
from bench.errors import LoadError
from bench.scenarios import Figures, hold
from bench.targets import Roots, Target
from bench.usage import cpu_seconds
from roots_devstack.processes import probes

_HELD = re.compile(rb"^roots_longpoll_polls_held ([0-9.e+]+)", re.MULTILINE)
_SECONDS = 30.0
_LOOK_SECONDS = 0.02


async def storm(target: Target, *, polls: int, size_bytes: int) -> Figures:
    """Hold a poll on each of as many paths, kill the replica, publish to half of them, and let all come back.

    Shape: with two replicas they come back to the other one, which was running; with one to its successor, which has
        to ask for every record.
    """
    if not isinstance(target, Roots):
        raise LoadError("a storm needs replicas")
    names = [f"bench-{number}" for number in range(polls)]
    crowd = await hold(target, [(name,) for name in names])
    heard = random.Random(1).sample(names, polls // 2)  # noqa: S311  # no secret
    await target.kill(0)
    crowd.begin()
    for name in heard:
        await crowd.publish(target.publisher, name, size_bytes)
    await target.publisher.flushed()
    if len(target.replicas) == 1:
        await target.revive(0)
    survivor = len(target.replicas) - 1
    processes = {"replica": target.pids, **target.beside}
    cpu = {name: cpu_seconds(pids) for name, pids in processes.items()}
    own, began = time.process_time(), time.perf_counter()
    connecting = asyncio.create_task(crowd.connect("127.0.0.1", target.port_of(survivor)))
    caught_up = await _caught_up(target, survivor, crowd, len(heard))
    seconds = time.perf_counter() - began
    await connecting
    figures = {
        "caught_up_seconds": seconds if caught_up else _SECONDS,
        "lost": float(len(heard) - len(crowd.latencies)),
        "disordered": float(crowd.disordered),
        "errors": float(crowd.errors),
        "slowest_answer_seconds": crowd.slowest_answer,
        "client_us_per_client": (time.process_time() - own) / polls * 1e6,
    }
    for name, pids in processes.items():
        figures[f"{name}_us_per_client"] = (cpu_seconds(pids) - cpu[name]) / polls * 1e6
    crowd.close()
    return figures


async def _caught_up(target: Roots, replica: int, crowd: Crowd, events: int) -> bool:
    """Return whether every event was delivered and every poll is held again before the time is over."""
    url = f"{target.replicas[replica].admin_url}/metrics"
    try:
        async with asyncio.timeout(_SECONDS):
            await crowd.delivered(events, _SECONDS)
            while True:
                answer = await probes.get(url)
                held = _HELD.search(answer.body) if answer is not None else None
                if held is not None and float(held[1]) >= len(crowd.pollers):
                    return True
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return False
