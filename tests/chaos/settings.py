"""What a run of chaos is told by its environment, and what it makes of the services' own settings."""

from dataclasses import dataclass
from typing import Annotated

import msgspec

from roots_common.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run. Units: seconds of faults; starting and the last catching up come on top."""

    seconds: Annotated[float, msgspec.Meta(ge=5)] = setting("CHAOS_SECONDS", default=600.0)
    clients: Annotated[int, msgspec.Meta(ge=1)] = setting("CHAOS_CLIENTS", default=300)
    seed: int = setting("CHAOS_SEED", default=0)
    nats_nodes: Annotated[int, msgspec.Meta(ge=1)] = setting("ROOTS_NATS_NODES", default=1)


# The app that clients connect by, and what it lets anyone hear.
APP = "chaos"
POLICY = """
[apps.chaos]
allow = [{ paths = ["chaos/**", "tasks"], who = "anyone" }]
"""
REPLICAS = 3
# Small bounds, so that a short run reaches them: cursors fall out of the ring, records out of the view, holds end.
SERVICE_ENV = {
    "ROOTS_RING_BYTES": str(512 * 1024),
    "ROOTS_MAX_CLIENTS_CACHED": "60",
    "ROOTS_HOLD_SECONDS": "8",
    "ROOTS_TOUCH_SECONDS": "5",
}

BUSY_PATHS = tuple(f"chaos/busy/{number}" for number in range(30))
"""Paths that NATS writers publish on."""
QUIET_PATHS = ("chaos/quiet", "chaos/quiet.too")
"""Paths that nobody writes on: their polls end with their holds."""
TASKS_PATH = "tasks"
CHAOS_PATHS = (*BUSY_PATHS, *QUIET_PATHS)
MAX_PATHS = 6
