"""A real Prometheus with the project's scrape configuration and rules, which reads a running system every second."""

import asyncio
import json
import math
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from tests.testkit.deadlines import stretched, until

from roots_devstack.processes import ports
from roots_devstack.stack import Stack

from .expressions import PROMETHEUS, RULES

START_SECONDS = 20.0
STOP_SECONDS = 10.0
# Of the configuration's jobs, those that the system on this machine has no process for.
NOT_HERE = frozenset({"nats", "prometheus"})

Series = dict[str, Any]


class Prometheus:
    """One server over `stack`. Use as an asynchronous context manager."""

    def __init__(self, program: str, folder: Path, stack: Stack) -> None:
        self._folder = folder
        self._port = ports.reserve()
        self._command = [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={ports.HOST}:{self._port}",
            "--log.level=warn",
        ]
        self._stack = stack
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        (self._folder / "rules").mkdir(parents=True)
        for file in RULES.glob("*.yml"):
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            for group in content["groups"]:
                # A group that is worked out every five minutes would be too late for a test.
                group.pop("interval", None)
            (self._folder / "rules" / file.name).write_text(yaml.safe_dump(content), encoding="utf-8")
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(self._stack)), encoding="utf-8")
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)  # noqa: ASYNC220  # returns at once
        try:
            await until(lambda: asyncio.to_thread(self._is_ready), START_SECONDS)
        except TimeoutError as error:
            said = (self._folder / "log").read_text(encoding="utf-8")
            raise RuntimeError(f"Prometheus did not start: {said}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    async def series(
        self, expression: str, *, seconds: float, step_seconds: float = 1.0, until: float | None = None
    ) -> list[Series]:
        """Return what `expression` was for `seconds` until now, or until that time.

        Errors: RuntimeError with Prometheus's own words.

        Shape: {"metric": labels, "values": [[time, value], ...]}; series that are nothing but NaN are left out.
        """
        end = time.time() if until is None else until
        found = await self._ask(
            "query_range",
            {"query": expression, "start": str(end - seconds), "end": str(end), "step": str(step_seconds)},
        )
        series = [
            {"metric": one["metric"], "values": [(at, float(value)) for at, value in one["values"]]}
            for one in found["result"]
        ]
        return [one for one in series if any(not math.isnan(value) for _, value in one["values"])]

    async def rules(self) -> list[dict[str, Any]]:
        """Return every rule, with how its last evaluation went."""
        return [rule for group in (await self._ask("rules", {}))["groups"] for rule in group["rules"]]

    async def targets(self) -> dict[str, str]:
        """Return the health of each target by its instance."""
        active = (await self._ask("targets", {"state": "active"}))["activeTargets"]
        return {target["labels"]["instance"]: target["health"] for target in active}

    async def _ask(self, what: str, parameters: Mapping[str, str]) -> Any:
        return await asyncio.to_thread(self._request, what, parameters)

    def _request(self, what: str, parameters: Mapping[str, str]) -> Any:
        url = f"http://{ports.HOST}:{self._port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=stretched(10)) as answer:  # a loopback URL
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{parameters}: {error.read().decode()}") from error

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{ports.HOST}:{self._port}/-/ready", timeout=stretched(2)):
                return True
        except OSError:
            return False


def _configuration(stack: Stack) -> dict[str, Any]:
    """Return the project's configuration, with the targets of this machine in the place of names."""
    content: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    content["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    del content["alerting"]
    content["scrape_configs"] = [job for job in content["scrape_configs"] if job["job_name"] not in NOT_HERE]
    for job in content["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [
            {"targets": [urllib.parse.urlsplit(info.admin_url or "").netloc], "labels": {"instance": name}}
            for name, info in stack.processes.items()
            if name.partition("-")[0] == job["job_name"]
        ]
    return content
