"""What a run of chaos is told by its environment, and what it makes of the services' own settings."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from roots.runtime.config import setting
from roots_devstack.servers.broker import Nodes

from .chance import source


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run.

    Shape: faults are words separated by spaces, and only the kinds that have one of them in their names happen; all by
        default. A seed of 0 is any. writers is how many processes the application of one's own has; with 0 there is no
        application.
    Units: seconds of faults; starting and the last catching up come on top.
    """

    seconds: Annotated[float, msgspec.Meta(ge=5)] = setting("ROOTS_TEST_CHAOS_SECONDS", default=600.0)
    clients: Annotated[int, msgspec.Meta(ge=1)] = setting("ROOTS_TEST_CHAOS_CLIENTS", default=300)
    writers: Annotated[int, msgspec.Meta(ge=0)] = setting("ROOTS_TEST_CHAOS_WRITERS", default=8)
    seed: int = setting("ROOTS_TEST_CHAOS_SEED", default=0)
    faults: str = setting("ROOTS_TEST_CHAOS_FAULTS", default="")
    nats_nodes: Nodes = setting("ROOTS_NATS_NODES", default=1)

    @property
    def again(self) -> str:
        """The command that does the same once more."""
        faults = f" ROOTS_TEST_CHAOS_FAULTS='{self.faults}'" if self.faults else ""
        nodes = f" ROOTS_NATS_NODES={self.nats_nodes}" if self.nats_nodes > 1 else ""
        return (
            f"make chaos ROOTS_TEST_CHAOS_SEED={self.seed} ROOTS_TEST_CHAOS_SECONDS={self.seconds:g}"
            f" ROOTS_TEST_CHAOS_CLIENTS={self.clients} ROOTS_TEST_CHAOS_WRITERS={self.writers}{faults}{nodes}"
        )


# The app that clients connect by, and what it lets anyone hear.
APP = "chaos"
POLICY = """
[apps.chaos]
allow = [{ paths = ["chaos/**", "rooms/*", "tasks"], who = "anyone" }]
"""
# What the application of one's own may do; the key is in the folder of the policy.
APPLICATION_KEY = "backend-application"
APPLICATION_POLICY = f"""
[backends.application]
key_file = "secrets/{APPLICATION_KEY}"
publish = ["rooms/*"]
grant = ["rooms/*"]
"""
REPLICAS = 3


def bounds(seed: int) -> dict[str, str]:
    """Return bounds so small that a run reaches them: cursors leave the ring, records the view, holds end."""
    chance = source(seed, "bounds")
    return {
        "ROOTS_RING_BYTES": str(chance.choice([64, 128, 512]) * 1024),
        "ROOTS_MAX_CLIENTS_CACHED": str(chance.choice([20, 100, 1000])),
        "ROOTS_HOLD_SECONDS": str(chance.choice([3, 8, 15])),
        "ROOTS_GRANT_RENEWAL_SECONDS": "5",
        "ROOTS_MAX_CONCURRENT_REPLAYS": str(chance.choice([2, 16])),
    }


BUSY_PATHS = tuple(f"chaos/busy/{number}" for number in range(30))
"""Paths that NATS writers publish on."""
QUIET_PATHS = ("chaos/quiet", "chaos/quiet.too")
"""Paths that nobody writes on: their polls end with their holds."""
ROOM_PATHS = tuple(f"rooms/{number}" for number in range(4))
"""Paths of the application's own rows."""
TASKS_PATH = "tasks"
PATHS = (*BUSY_PATHS, *QUIET_PATHS, *ROOM_PATHS)
MAX_PATHS = 6
