"""`python -m tests.attacks.gateway URL`: what honest users notice at a running gateway while each kind of flood comes.

It adds tasks, so the system should have none that anybody needs.
"""

import argparse
import asyncio
import sys

from tests.integration.http_client import HttpConnection
from tests.integration.listener import Listener

from .floods import ALL, KINDS
from .honest import Honest
from .process import attacked

# Enough that a reader who never reads has more to come than the kernel keeps for it.
_TASKS = 100
# Longer than opening all connections takes on a full machine.
_MAX_OPEN_SECONDS = 60
_SHOWN_FAILURES = 5


async def fill(url: str) -> None:
    """Make the list of tasks long."""
    async with HttpConnection(url) as api:
        for _ in range(_TASKS):
            answer = await api.request("POST", "/tasks", {"description": "x" * 2000})
            assert 201 == answer.status


async def measure(url: str, kind: str, *, connections: int, seconds: float) -> Honest:
    """Return what an honest user noticed in `seconds` of a flood."""
    async with Listener(url, url, prefix="/comet") as client:
        await client.poll()
        honest = Honest(connect_url=url, tasks_url=url, probe_urls=[], uid=client.uid)
        async with attacked(kind, url, connections=connections, seconds=seconds + _MAX_OPEN_SECONDS):
            await honest.work(seconds)
    return honest


async def _measure_all(arguments: argparse.Namespace) -> bool:
    """Print a line for each kind; return whether anything failed."""
    await fill(arguments.url)
    has_failed = False
    for kind in arguments.kinds:
        honest = await measure(arguments.url, kind, connections=arguments.connections, seconds=arguments.seconds)
        sys.stdout.write("\n  ".join([f"{kind}: {honest.summary}", *honest.failures[:_SHOWN_FAILURES]]) + "\n")
        sys.stdout.flush()
        has_failed = has_failed or bool(honest.failures)
    return has_failed


def main() -> None:
    """Measure as the command line says; end with 1 when an honest request failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.gateway", description=__doc__)
    parser.add_argument("url", help="the gateway's origin, on this machine")
    parser.add_argument("kinds", nargs="*", default=[ALL, *KINDS], help="every kind by default")
    parser.add_argument("--connections", type=int, default=1400)
    parser.add_argument("--seconds", type=float, default=10.0)
    sys.exit(asyncio.run(_measure_all(parser.parse_args())))


if __name__ == "__main__":
    main()
