"""One measurement in a process of its own: `python -m bench.measure JSON` prints its figures as JSON.

Each begins with a fresh server and a fresh load generator, so that none inherits the memory of the one before.
"""

import gc
import json
import resource
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvloop

from bench import scenarios, writes
from bench.backend_api import BackendApi, backend_api
from bench.costs import costs
from bench.errors import LoadError, MissingPeerError
from bench.outbox import Application, outbox
from bench.storm import storm
from bench.subscribe import Subscriptions, subscribe
from bench.targets import Floor, Granian, Nchan, Roots, Target, Waitress
from bench.writes_targets import Tasks, TasksWithoutOutbox, Writes, WritesThroughGateway
from roots_devstack.errors import DevstackError

SCENARIOS: dict[str, Callable[..., Awaitable[scenarios.Figures]]] = {
    "fanout": scenarios.fanout,
    "mixed": scenarios.mixed,
    "unicast": scenarios.unicast,
    "idle": scenarios.idle,
    "storm": storm,
    "costs": costs,
    "subscribe": subscribe,
    "backend-api": backend_api,
    "outbox": outbox,
    "posts": writes.posts,
    "write_to_event": writes.write_to_event,
}
_KINDS: tuple[type[Target], ...] = (
    *(Roots, Nchan, Floor, Granian, Waitress, Subscriptions, BackendApi),
    *(Application, Tasks, TasksWithoutOutbox, Writes, WritesThroughGateway),
)
TARGETS: dict[str, Callable[[], Target]] = {
    **{kind.name: kind for kind in _KINDS},
    "roots-pair": lambda: Roots(replicas=2),
    "roots-r3": lambda: Roots(nats_nodes=3),
}
EXIT_FAILED = 1
EXIT_MISSING = 3


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure. Shape: options are the scenario's own arguments."""

    scenario: str
    target: str
    options: dict[str, Any]


async def measure(job: Job) -> scenarios.Figures:
    """Return the figures of one run. Errors: MissingPeerError, LoadError."""
    # The load allocates nothing that needs to be looked for, and a collection would be seen as latency.
    gc.disable()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    async with TARGETS[job.target]() as target:
        return await SCENARIOS[job.scenario](target, **job.options)


def main() -> None:
    """Measure what the argument says."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    try:
        figures = uvloop.run(measure(job))
    except MissingPeerError as missing:
        sys.stderr.write(f"{missing}\n")
        sys.exit(EXIT_MISSING)
    except (LoadError, DevstackError, TimeoutError) as error:
        sys.stderr.write(f"{job.scenario} on {job.target}: {str(error) or type(error).__name__}\n")
        sys.exit(EXIT_FAILED)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
