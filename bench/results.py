"""What was measured, as it is kept in a file, and what a table of it says."""

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

Figures = dict[str, float]

# What other targets are compared with.
_PEERS = ("nchan", "floor", "tasks-without-outbox")
# From here on a figure is shown without decimals.
_WHOLE_FROM = 1000


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """The runs of one experiment on one target. Shape: missing says why there are none."""

    experiment: str
    title: str
    target: str
    options: dict[str, Any]
    headline: tuple[str, ...]
    runs: list[Figures]
    missing: str | None = None

    def median(self, figure: str) -> float | None:
        """Return the median of `figure` over the runs that have it."""
        values = [run[figure] for run in self.runs if figure in run]
        return statistics.median(values) if values else None


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmark. Shape: machine is what it ran on, commit what was measured."""

    machine: dict[str, str]
    commit: str
    date: str
    measured: list[Measured]

    def save(self, path: Path) -> None:
        """Write the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read the file. Errors: OSError, msgspec.MsgspecError."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def of(self, experiment: str) -> dict[str, Measured]:
        """Return what was measured in one experiment, by target."""
        return {one.target: one for one in self.measured if one.experiment == experiment}

    def table(self) -> Iterator[str]:
        """Yield the lines of a table in Markdown: medians, and their ratio to the peers'."""
        for experiment in dict.fromkeys(one.experiment for one in self.measured):
            targets = self.of(experiment)
            first = next(iter(targets.values()))
            yield f"### {first.title}"
            yield ""
            yield f"| target | runs | {' | '.join(first.headline)} |"
            yield f"|---|---|{'---|' * len(first.headline)}"
            for target, one in targets.items():
                if one.missing is not None:
                    yield f"| {target} | 0 | {one.missing} |{' |' * (len(first.headline) - 1)}"
                    continue
                cells = (_cell(one, figure, targets) for figure in first.headline)
                yield f"| {target} | {len(one.runs)} | {' | '.join(cells)} |"
            yield ""


def _cell(one: Measured, figure: str, targets: dict[str, Measured]) -> str:
    value = one.median(figure)
    if value is None:
        return ""
    ratios = [
        f"{value / base:.2f} of {peer}"
        for peer in _PEERS
        if peer in targets and peer != one.target and (base := targets[peer].median(figure))
    ]
    return f"{_number(value)} ({', '.join(ratios)})" if ratios and value else _number(value)


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.3g}"


def this_machine() -> dict[str, str]:
    """Return what the figures depend on."""
    models = (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name"))
    return {
        "processor": next(models, platform.processor()),
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def this_commit() -> str:
    """Return the commit that is checked out, with a mark when files were changed since."""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=12")
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # nothing from outside
    return answer.stdout.strip() or "unknown"


def _lines(path: Path) -> Iterable[str]:
    return path.read_text(encoding="ascii", errors="replace").splitlines() if path.exists() else ()
