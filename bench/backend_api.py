"""The back-end API as an application uses it: single updates at a steady pace, and many messages from a file.

Both go through Cornelius, whose own time is in the figures.
"""

import asyncio
import dataclasses
import sys
import time

from bench.crowd import Latency
from bench.errors import LoadError
from bench.scenarios import Figures
from bench.subscribe import Subscriptions
from bench.targets import Target
from bench.usage import cpu_seconds
from cornelius import Dudley
from cornelius.aio import AsyncDudley
from roots_devstack.processes import ports

PATH = "tasks"
_POLICY = f'[apps.tasks]\nallow = []\n[backends.bench]\nkey_file = "secrets/backend"\npublish = ["{PATH}"]\n'
_WARM_UP_UPDATES = 50


class BackendApi(Subscriptions):
    """The service with a back end that may publish."""

    name = "backend-api"

    @property
    def url(self) -> str:
        """Where the back-end API is."""
        return f"http://{ports.HOST}:{self.backend_api_port}"

    @property
    def key(self) -> str:
        """The back end's key."""
        return self.keys.get("backend")

    def settings(self) -> dict[str, str]:
        """Return the service's own settings, with a policy."""
        file = self.home / "policy.toml"
        file.write_text(_POLICY, encoding="utf-8")
        # Makes the file that the policy names.
        self.keys.get("backend")
        return {**super().settings(), "ROOTS_POLICY": str(file)}


async def backend_api(
    target: Target, *, updates_per_second: int, seconds: float, messages: int, size_bytes: int
) -> Figures:
    """Publish one by one at a steady pace, then `messages` at once with `python -m cornelius publish`.

    Shape: the percentiles are of single updates, from the moment at which each was due; the command's time begins with
        its process.
    """
    if not isinstance(target, BackendApi):
        raise LoadError("the scenario backend-api needs the target backend-api")
    dudley = AsyncDudley(Dudley(url=target.url, key=target.key))
    message = "x" * size_bytes
    for _ in range(_WARM_UP_UPDATES):
        await dudley.update(PATH, message)
    cpu = cpu_seconds(target.pids)
    took = await _update_steadily(dudley, message, updates_per_second, int(updates_per_second * seconds))
    cpu = cpu_seconds(target.pids) - cpu
    publish_seconds = await _publish_lines(target, f"{message}\n".encode() * messages)
    return {
        **dataclasses.asdict(Latency.of(took)),
        "service_us_per_update": cpu / len(took) * 1e6,
        "publish_seconds": publish_seconds,
        "published_per_second": messages / publish_seconds,
    }


async def _update_steadily(dudley: AsyncDudley, message: str, per_second: int, count: int) -> list[float]:
    """Return how long each of `count` updates took. One that is slow does not hold back the next."""
    began = time.perf_counter()

    async def update(number: int) -> float:
        due = began + number / per_second
        await asyncio.sleep(due - time.perf_counter())
        await dudley.update(PATH, message)
        return time.perf_counter() - due

    return await asyncio.gather(*(update(number) for number in range(count)))


async def _publish_lines(target: BackendApi, lines: bytes) -> float:
    """Return how long the command takes for `lines`. Errors: LoadError when it fails."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cornelius", "publish", PATH),
        env={"ROOTS_BACKEND_API_URL": target.url, "ROOTS_BACKEND_API_KEY": target.key},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(lines)
    if process.returncode or output.count(b"\n") != lines.count(b"\n"):
        raise LoadError(f"the command failed: {errors.decode()}")
    return time.perf_counter() - began
