"""The formula of docs/scaling.md: it is as near to measurements as it says, and the document has its figures."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from bench import formula
from bench.capacity import DOCUMENT, RESULTS, updated
from bench.errors import LoadError
from bench.formula import CORE_PART, FANOUT_POLLS, TOLERANCE, Capacity, Load
from bench.measurements import Measurements
from bench.results import Results
from tests.testkit.deadlines import stretched

ROOT = DOCUMENT.parents[1]


@pytest.fixture(scope="module")
def measurements() -> Measurements:
    """Return what was measured last."""
    return Measurements.load(RESULTS)


@pytest.fixture(scope="module")
def capacity(measurements: Measurements) -> Capacity:
    """Return the formula for it."""
    return Capacity(measurements)


def computed(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Return what the command says."""
    command = (sys.executable, "-m", "bench.capacity", *arguments)
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=stretched(30))


def test_formula_is_within_its_tolerance_when_it_is_compared_with_measurements(capacity: Capacity) -> None:
    """The p50 of fan-outs and writes, the CPU of fan-outs, the memory of replicas and the time of storms."""
    checks = [check for check in capacity.checks() if check.is_covered]
    assert {"p50", "CPU", "resident set", "storm"} <= {
        kind for kind in ("p50", "CPU", "resident set", "storm") if any(kind in check.what for check in checks)
    }
    assert [] == [f"{check.what}: {check.error:+.0%}" for check in checks if abs(check.error) > TOLERANCE]


def test_document_has_current_tables_when_costs_were_measured_again(measurements: Measurements) -> None:
    """`python -m bench.capacity` writes them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == updated(text, measurements), "run python -m bench.capacity"


def test_gateway_costs_are_those_of_the_decision_when_the_formula_uses_them() -> None:
    """The benchmark does not measure the gateway, so its figures have one other place."""
    decision = (ROOT / "docs" / "adr" / "0014-haproxy.md").read_text(encoding="utf-8")
    kilobytes, microseconds = formula.GATEWAY_POLL_BYTES / 1000, formula.GATEWAY_DELIVERY_SECONDS * 1e6
    assert f"as decided | 5.9 KB | {kilobytes:g} KB | {microseconds:.0f} µs |" in decision


def test_event_costs_follow_straight_lines_when_a_size_was_not_measured(capacity: Capacity) -> None:
    """Between two sizes, below one receiver, and on beyond the last."""
    few, many = FANOUT_POLLS[-2:]
    assert (capacity.event(few) + capacity.event(many)) / 2 == pytest.approx(capacity.event((few + many) / 2))
    assert (capacity.event(0) + capacity.event(1)) / 2 == pytest.approx(capacity.event(0.5))
    assert 2 * capacity.event(many) - capacity.event(few) == pytest.approx(capacity.event(2 * many - few))


@pytest.mark.parametrize(("events_per_second", "receivers"), [(100, 1), (1_000, 1_000), (5_000, 100)])
def test_replicas_are_the_fewest_that_suffice_when_a_load_is_given(
    capacity: Capacity, events_per_second: int, receivers: int
) -> None:
    """One fewer would be too few, for CPU or for held polls."""
    load = Load(clients=1_000_000, receivers=receivers, events_per_second=events_per_second)
    need = capacity.need(load)
    assert need is not None
    assert need.core_part <= CORE_PART
    assert need.replicas == 20 or capacity.core_part(load, need.replicas - 1) > CORE_PART


def test_no_number_of_replicas_suffices_when_events_alone_fill_their_cores(capacity: Capacity) -> None:
    """Every replica receives every event."""
    assert capacity.need(Load(clients=1, receivers=1, events_per_second=1_000_000)) is None


def test_newest_run_counts_when_an_experiment_was_measured_twice() -> None:
    """The files' order does not matter, and a run without figures counts for nothing."""
    results = Results.load(RESULTS / "results.json")
    idle = results.of("idle")["roots"]

    def measured(date: str, runs: list[dict[str, float]]) -> Results:
        return msgspec.structs.replace(results, date=date, measured=[msgspec.structs.replace(idle, runs=runs)])

    files = [measured("2026-01-03", []), measured("2026-01-02", [{"x": 2.0}]), measured("2026-01-01", [{"x": 1.0}])]
    assert 2.0 == Measurements(files).of("idle").median("x")


def test_error_names_the_command_when_a_figure_was_not_measured() -> None:
    """What is missing can be measured."""
    results = Results.load(RESULTS / "results.json")
    without = [one for one in results.measured if one.experiment != "storm"]
    with pytest.raises(LoadError, match="python -m bench --only storm"):
        Capacity(Measurements([msgspec.structs.replace(results, measured=without)]))


def test_command_prints_what_a_load_needs_when_it_is_given() -> None:
    """It leaves the document alone."""
    before = DOCUMENT.read_bytes()
    done = computed("--load", "200000,50,300")
    assert (0, "") == (done.returncode, done.stderr)
    assert "\n| 200,000 | 50 | 300 | 4 |" in done.stdout
    assert before == DOCUMENT.read_bytes()


def test_command_names_the_file_when_it_has_no_results(tmp_path: Path) -> None:
    """In one sentence, without a traceback."""
    broken = tmp_path / "results.json"
    broken.write_text("{", encoding="utf-8")
    done = computed("--results", str(tmp_path))
    assert (1, "") == (done.returncode, done.stdout)
    assert [f"{broken} has no results: Input data was truncated"] == done.stderr.splitlines()


@pytest.mark.parametrize("load", ["1,2", "1,1,x", "0,0,1", "2,3,1", "2,1,-1"])
def test_command_says_what_is_wrong_when_a_load_is_not_one(load: str) -> None:
    """In one sentence, without a traceback."""
    done = computed(f"--load={load}")
    assert (2, "") == (done.returncode, done.stdout)
    assert "error: argument --load: " in done.stderr.splitlines()[-1]
