"""What was measured last: the newest run of each experiment, from all files in bench/results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import LoadError
from bench.results import Measured, Results

_MICROSECOND = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One experiment on one target. Shape: date is that of its run."""

    measured: Measured
    date: str

    def median(self, figure: str) -> float:
        """Return one figure. Errors: LoadError when it was not measured."""
        value = self.measured.median(figure)
        if value is None:
            raise LoadError(_missing(self.measured.experiment, f"{figure} of {self.measured.target}"))
        return value

    def seconds(self, figure: str) -> float:
        """Return one figure that is in microseconds. Errors: LoadError when it was not measured."""
        return self.median(figure) * _MICROSECOND

    @property
    def options(self) -> dict[str, Any]:
        """What the experiment was run with."""
        return self.measured.options


class Measurements:
    """The newest measurement of each experiment on each target."""

    def __init__(self, files: list[Results]) -> None:
        self._newest = {
            (one.experiment, one.target): Measurement(measured=one, date=file.date)
            for file in sorted(files, key=lambda file: file.date)
            for one in file.measured
            if one.runs
        }

    @classmethod
    def load(cls, folder: Path) -> "Measurements":
        """Read every file of results in `folder`. Errors: OSError; LoadError when a file has no results."""
        files = []
        for path in sorted(folder.glob("*.json")):
            try:
                files.append(Results.load(path))
            except msgspec.MsgspecError as error:
                raise LoadError(f"{path} has no results: {error}") from error
        return cls(files)

    def of(self, experiment: str, target: str = "roots") -> Measurement:
        """Return what was measured last. Errors: LoadError when nothing was."""
        try:
            return self._newest[experiment, target]
        except KeyError:
            raise LoadError(_missing(experiment, target)) from None


def _missing(experiment: str, what: str) -> str:
    return f"the results have no {what} in {experiment}: measure it with python -m bench --only {experiment}"
