"""`python -m bench`: measure everything, print the table, keep the figures and the pictures."""

import argparse
import asyncio
import datetime as dt
import itertools
import json
import os
import sys
from pathlib import Path

from bench import plots
from bench.measure import EXIT_MISSING
from bench.plan import Experiment, full, quick
from bench.results import Figures, Measured, Results, this_commit, this_machine

ROOT = Path(__file__).resolve().parents[1]
_RUN_SECONDS = 240.0


async def main() -> int:
    """Run what the command line asks for; return 1 when a measurement failed."""
    arguments = _arguments()
    experiments = [one for one in (quick() if arguments.quick else full()) if _is_wanted(one, arguments.only)]
    if not experiments:
        print(f"no experiment is called {arguments.only}", file=sys.stderr)
        return 2
    figures: dict[tuple[str, str], list[Figures]] = {}
    missing: dict[tuple[str, str], str] = {}
    failures = 0
    for experiment in experiments:
        # The targets take turns, so that what else the machine does meets all of them.
        rounds = arguments.runs or (1 if arguments.quick else experiment.runs)
        for number, target in itertools.product(range(1, rounds + 1), experiment.targets):
            key = (experiment.name, target)
            if key in missing:
                continue
            status, output, error = await _measure(experiment, target)
            if status == 0:
                figures.setdefault(key, []).append(json.loads(output))
                print(f"{experiment.name} · {target} · run {number} of {rounds}", flush=True)
            else:
                failures += status != EXIT_MISSING
                print(error, file=sys.stderr, flush=True)
                if status == EXIT_MISSING:
                    missing[key] = error
    results = Results(
        machine=this_machine(),
        commit=this_commit(),
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        measured=[
            Measured(
                experiment=one.name,
                title=one.title,
                target=target,
                options=one.options,
                headline=one.headline,
                runs=figures.get((one.name, target), []),
                missing=missing.get((one.name, target)),
            )
            for one in experiments
            for target in one.targets
        ],
    )
    print("\n".join(["", *results.table()]))
    _keep(results, arguments.results)
    return 1 if failures else 0


def _keep(results: Results, folder: Path) -> None:
    results.save(folder / "results.json")
    for path in (folder / "results.json", *plots.draw(results, folder)):
        print(path)
    print("docs/scaling.md rests on these figures: python -m bench.capacity")


async def _measure(experiment: Experiment, target: str) -> tuple[int, str, str]:
    """Return the exit status of one measurement, what it printed, and its last line of errors."""
    job = {"scenario": experiment.scenario, "target": target, "options": experiment.options}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.measure", json.dumps(job)),
        cwd=ROOT,
        env=os.environ | {"ROOTS_LOG_LEVEL": "error"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_RUN_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return 1, "", f"{experiment.name} on {target} was not done after {_RUN_SECONDS:.0f} s"
    # The servers' own lines come before the figures.
    return process.returncode or 0, _last_line(output), _last_line(errors)


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _is_wanted(experiment: Experiment, only: str | None) -> bool:
    return only is None or any(experiment.name.startswith(prefix) for prefix in only.split(","))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Roots and its peers side by side.")
    parser.add_argument("--quick", action="store_true", help="a minute's worth, one run each")
    parser.add_argument("--runs", type=int, help="runs of each measurement (three or five; one when quick)")
    parser.add_argument("--only", help="experiments whose names begin so, separated by commas: fanout-5000,idle")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "bench" / "results", help="the folder for figures and pictures"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
