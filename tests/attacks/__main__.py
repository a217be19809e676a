"""`python -m tests.attacks KIND URL`: one flood from this host against a server of this machine."""

import argparse
import asyncio
import resource
import sys
from urllib.parse import urlsplit

from .floods import ALL, KINDS, MAX_SECONDS, attack

LOOPBACK = frozenset({"127.0.0.1", "localhost"})
MAX_CONNECTIONS = 5000


def main() -> None:
    """Attack as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("kind", choices=[*KINDS, ALL])
    parser.add_argument("url", help="an origin on 127.0.0.1")
    parser.add_argument("--connections", type=int, default=1100)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    if urlsplit(arguments.url).hostname not in LOOPBACK:
        parser.error("it attacks servers of this machine only")
    if arguments.connections > MAX_CONNECTIONS or arguments.seconds > MAX_SECONDS:
        parser.error(f"at most {MAX_CONNECTIONS} connections and {MAX_SECONDS:.0f} s")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(_attack(arguments))


async def _attack(arguments: argparse.Namespace) -> None:
    kinds = list(KINDS) if arguments.kind == ALL else [arguments.kind]
    connections = arguments.connections // len(kinds)
    opened = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            flood = attack(
                KINDS[kind],
                arguments.url,
                connections=connections,
                seconds=arguments.seconds,
                on_open=opened.release,
            )
            group.create_task(flood)
        for _ in kinds:
            await opened.acquire()
        sys.stdout.write("open\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
