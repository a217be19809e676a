"""`python -m tests.observability.pictures`: the dashboards over three minutes of the running system, as docs show them.

A NATS server that stands still for some seconds and a replica that is restarted are in it, so that there is something
to see.
"""

import asyncio
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tests.testkit import faults

from roots.runtime import logs
from roots_devstack.stack import Stack, StackConfig

from .drawing import Line, draw
from .expressions import ROOT, dashboards, filled, panels
from .load import under_load
from .prometheus import Prometheus, Series

FOLDER = ROOT / "docs" / "pictures"
BEGIN_SECONDS = 10.0
BEFORE_SECONDS = 60.0
FROZEN_SECONDS = 5.0
BETWEEN_SECONDS = 45.0
AFTER_SECONDS = 60.0
STEP_SECONDS = 1.0
# Long enough to be smooth, short enough to show five seconds.
VARIABLES = {"$__rate_interval": "6s", "$replica": ".*"}
HOLD_SECONDS = 6
LISTENERS = 60


def main() -> None:
    """Run the system, and draw each dashboard."""
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("error: there is no prometheus; Debian's package of that name has it")
    logs.configure("pictures", "error")
    with tempfile.TemporaryDirectory(prefix="roots-pictures-") as home:
        asyncio.run(_run(program, Path(home)))


async def _run(program: str, home: Path) -> None:
    settings = {"ROOTS_HOLD_SECONDS": str(HOLD_SECONDS), "ROOTS_GRANT_RENEWAL_SECONDS": "5", "ROOTS_LOG_LEVEL": "error"}
    config = StackConfig(home=home / "stack", longpoll_replicas=2, extra_env=settings)
    async with (
        Stack(config) as stack,
        Prometheus(program, home / "prometheus", stack) as prometheus,
        under_load(stack, config.home, listeners=LISTENERS),
    ):
        # How the clients begin is no part of the picture.
        await asyncio.sleep(BEGIN_SECONDS)
        began = time.time()
        await asyncio.sleep(BEFORE_SECONDS)
        await faults.kill(stack, "nats", signal.SIGSTOP)
        await asyncio.sleep(FROZEN_SECONDS)
        await faults.kill(stack, "nats", signal.SIGCONT)
        await asyncio.sleep(BETWEEN_SECONDS)
        await faults.restart(stack, "longpoll-2")
        await asyncio.sleep(AFTER_SECONDS)
        ended = time.time()
        for name, dashboard in dashboards().items():
            await _draw(prometheus, name, dashboard, began, ended)


async def _draw(prometheus: Prometheus, name: str, dashboard: dict[str, Any], began: float, ended: float) -> None:
    steps = int((ended - began) / STEP_SECONDS)
    span = steps * STEP_SECONDS
    data: dict[str, list[Line]] = {}
    for panel in panels(dashboard):
        lines = data[panel["title"]] = []
        for target in panel["targets"]:
            expression = filled(target["expr"], VARIABLES)
            found = await prometheus.series(expression, seconds=span, step_seconds=STEP_SECONDS, until=ended)
            lines += [_line(one, target["legendFormat"], ended - span, steps + 1) for one in found]
    path = FOLDER / f"{name}.png"
    await asyncio.to_thread(draw, dashboard, [step * STEP_SECONDS for step in range(steps + 1)], data, path)
    sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size >> 10} KiB\n")


def _line(series: Series, legend: str, began: float, steps: int) -> Line:
    values = np.full(steps, np.nan)
    for at, value in series["values"]:
        values[round((at - began) / STEP_SECONDS)] = value
    labels: dict[str, str] = series["metric"]
    return Line(
        name=re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend), labels=labels, values=values
    )


if __name__ == "__main__":
    main()
