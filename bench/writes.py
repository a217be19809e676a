"""Load on the REST API of tasks: how many it takes a second, and how soon each is an event at those who listen.

`posts` is for the targets `tasks` and `tasks-without-outbox`, taken in turn; `write_to_event` for `writes` and
`writes-gateway`.
"""

import dataclasses
import time

from bench.crowd import Latency
from bench.errors import LoadError
from bench.scenarios import Figures, hold, steady
from bench.targets import Target
from bench.usage import cpu_seconds
from bench.writes_rest import Writers
from bench.writes_targets import Tasks

PATH = "tasks"
MESSAGE_BYTES = 120
_WARM_UP_SECONDS = 1.0
_WARM_UP_WRITES = 20


async def posts(target: Target, *, connections: int, seconds: float) -> Figures:
    """Create as many tasks as the service takes, then await that the last is an event.

    Shape: posts_per_second and the percentiles of an answer; CPU per post of the service and of what works beside it;
        behind_seconds from the last answer until the outbox is empty.
    """
    if not isinstance(target, Tasks):
        raise LoadError("the scenario posts needs a target that takes tasks")
    writers = Writers()
    await writers.connect(target.port, connections)
    await writers.post_for(_WARM_UP_SECONDS)
    await target.emptied()
    cpu = {"service": cpu_seconds(target.pids)} | {name: cpu_seconds(pids) for name, pids in target.beside.items()}
    own, began = time.process_time(), time.perf_counter()
    await writers.post_for(seconds)
    ended = time.perf_counter()
    own = time.process_time() - own
    await target.emptied()
    behind = time.perf_counter() - ended
    count = len(writers.took)
    used = {"service": cpu_seconds(target.pids)} | {name: cpu_seconds(pids) for name, pids in target.beside.items()}
    figures = {f"{name}_us_per_post": (used[name] - cpu[name]) / count * 1e6 for name in used}
    figures["client_us_per_post"] = own / count * 1e6
    figures["posts_per_second"] = count / (ended - began)
    figures["behind_seconds"] = behind
    figures |= dataclasses.asdict(Latency.of(writers.took))
    writers.close()
    return figures


async def write_to_event(target: Target, *, polls: int, writes_per_second: float, seconds: float) -> Figures:
    """Hold `polls` on the path of tasks and create tasks at a steady pace; latency is from a post to each client."""
    crowd = await hold(target, [(PATH,)] * polls)
    for _ in range(_WARM_UP_WRITES):
        await crowd.publish(target.publisher, PATH, MESSAGE_BYTES)
        await target.publisher.flushed()
    await crowd.settled()
    figures = await steady(target, crowd, [PATH], polls, writes_per_second, seconds, MESSAGE_BYTES)
    # Posts on several connections are of different tasks, which have no order among them.
    del figures["disordered"]
    crowd.close()
    return figures
