"""`python -m tests.compose`: restart every service of docker-compose.yml in turn, under clients that listen and write.

The clients and the checker are those of `make chaos`, which see the system through its gateway; the truth is read from
Postgres and NATS at the end. It starts the containers with a policy of its own, and leaves them running. COMPOSE names
another way to call compose. With --away each service is away for so long before it is started again.
"""

import argparse
import asyncio
import os
import sys
import time
from dataclasses import dataclass

from tests.chaos.history import Fault
from tests.chaos.run import Chaos
from tests.chaos.settings import POLICY, Settings, bounds

from roots.runtime import logs
from roots_devstack.errors import DevstackError

from .containers import HOME, Containers

SERVICES = ("tasks", "relay", "subscriptions", "postgres", "nats", "longpoll", "gateway")
# Delivery goes on for a while before the next one.
PAUSE_SECONDS = 3.0
REPLICAS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeSettings(Settings):
    """The settings of a run here. Shape: away_seconds and services are as on the command line."""

    away_seconds: float
    services: tuple[str, ...]

    @property
    def again(self) -> str:
        """The command that does the same once more."""
        return (
            f"python -m tests.compose --seed {self.seed} --seconds {self.seconds:g} --clients {self.clients}"
            f" --away {self.away_seconds:g} {' '.join(self.services)}"
        )


class Restarts:
    """Restarts each service, once in a round. Shape: faults is what happened, failures what was not ready again."""

    def __init__(self, containers: Containers, services: tuple[str, ...], away_seconds: float) -> None:
        self.faults: list[Fault] = []
        self.failures: list[str] = []
        self._containers = containers
        self._services = services
        self._away_seconds = away_seconds

    async def run(self, seconds: float) -> None:
        """Begin rounds for `seconds`; the last is gone through to its end."""
        ends_at = time.monotonic() + seconds
        while not self.faults or time.monotonic() < ends_at:
            for service in self._services:
                await self._restart(service)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _restart(self, service: str) -> None:
        began_at = time.monotonic()
        try:
            await self._containers.restart(service, self._away_seconds)
            over_at = time.monotonic()
            await self._containers.wait_ready(service)
        except DevstackError as error:
            self.failures.append(f"restart of {service}: {error}")
            over_at = time.monotonic()
        ready_at = time.monotonic()
        print(f"{service}: restarted in {over_at - began_at:.1f} s, ready {ready_at - over_at:.1f} s later", flush=True)
        fault = Fault(kind=f"restart {service}", target=service, began_at=began_at, over_at=over_at, ready_at=ready_at)
        self.faults.append(fault)


async def start(containers: Containers) -> str:
    """Start three replicas and everything else; return the gateway's URL."""
    await containers.up("--scale", f"longpoll={REPLICAS}")
    return await containers.gateway_url()


def main() -> None:
    """Run once, print the report, end with status 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0, help="rounds are begun for so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--away", type=float, default=0.0, help="seconds between stop and start")
    parser.add_argument("services", nargs="*", default=list(SERVICES), help="what to restart; everything by default")
    arguments = parser.parse_args()
    settings = ComposeSettings(
        seconds=arguments.seconds,
        clients=arguments.clients,
        seed=arguments.seed,
        away_seconds=arguments.away,
        services=tuple(arguments.services),
    )
    logs.configure("compose", "error")
    policy = HOME / "chaos-policy" / "policy.toml"
    policy.parent.mkdir(exist_ok=True)
    policy.write_text(POLICY, encoding="utf-8")
    containers = Containers(
        os.environ.get("COMPOSE", "docker compose"),
        {**bounds(arguments.seed), "ROOTS_POLICY_FOLDER": str(policy.parent)},
    )
    url = asyncio.run(start(containers))
    restarts = Restarts(containers, settings.services, settings.away_seconds)
    result = Chaos(settings, HOME, containers, url, (), lambda _routes, _clients: restarts).happen()
    print(result.text)
    sys.exit(not result.is_good)


if __name__ == "__main__":
    main()
