"""The benchmark in short: it measures what it says, and what it says can be read."""

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import plots
from bench.crowd import Crowd, Latency, RootsPoller, message_of
from bench.measure import EXIT_MISSING, SCENARIOS, TARGETS
from bench.plan import full, quick
from bench.results import Measured, Results
from tests.testkit.deadlines import stretched

ROOT = Path(__file__).parents[2]
FIGURES = {"cpu_us_per_delivery": 12.0, "p50_ms": 30.0, "p90_ms": 60.0, "p99_ms": 90.0, "lost": 0.0}


class Wire:
    """Takes what a poller sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.sent.append(data)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Close what a figure of matplotlib leaves behind, in the test that made it."""
    yield
    gc.collect()


def answer(body: bytes) -> bytes:
    """Return an answer as a replica writes it."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def test_every_planned_experiment_can_be_measured_when_all_is_asked_for() -> None:
    """Names of scenarios, targets and figures belong together."""
    for experiment in [*full(), *quick()]:
        assert experiment.scenario in SCENARIOS
        assert set(experiment.targets) <= set(TARGETS)
        assert experiment.headline


@pytest.mark.parametrize("cut", [1, 60, 100, 150])
def test_poller_finds_events_and_asks_on_when_an_answer_comes_in_two_reads(cut: int) -> None:
    """Every event is counted once, and the next poll is at the answer's cursor."""
    poller = RootsPoller(b"uid/1.2.3", b"bench")
    crowd = Crowd([poller])
    wire = Wire()
    poller.connection_made(wire)  # type: ignore[arg-type]  # stands in for a transport
    crowd.published.extend([0.0, 0.0])
    updates = b",".join(b'{"path":"p","message":"%b"}' % message_of(number, 40) for number in (0, 1))
    data = answer(b'{"updates":[%b],"reconnectWith":"uid/1.9.3"}' % updates)
    poller.data_received(data[:cut])
    poller.data_received(data[cut:])
    assert (1, 2, 0) == (crowd.answers, len(crowd.latencies), crowd.disordered)
    assert [b"GET /uid/1.2.3 HTTP", b"GET /uid/1.9.3 HTTP"] == [sent[:19] for sent in wire.sent]


def test_repeats_are_noticed_when_a_server_delivers_an_event_twice() -> None:
    """The load is the judge of order, too."""
    poller = RootsPoller(b"uid/1.2.3", b"bench")
    crowd = Crowd([poller])
    poller.connection_made(Wire())  # type: ignore[arg-type]  # stands in for a transport
    crowd.published.extend([0.0, 0.0])
    for number in (1, 1, 0):
        poller.data_received(
            answer(b'{"updates":[{"message":"%b"}],"reconnectWith":"u/1.1.1"}' % message_of(number, 20))
        )
    assert 2 == crowd.disordered


def test_percentiles_are_of_all_latencies_when_there_are_many() -> None:
    """In milliseconds."""
    latency = Latency.of([number / 1000 for number in range(1, 101)])
    assert (50.5, 100.0) == (round(latency.p50_ms, 1), latency.max_ms)


def test_nothing_is_lost_when_a_replica_is_measured() -> None:
    """The whole way, with real processes: NATS, a replica, the load."""
    options = {"polls": 200, "events_per_second": 10, "seconds": 0.5, "size_bytes": 120}
    job = {"scenario": "fanout", "target": "roots", "options": options}
    command = (sys.executable, "-m", "bench.measure", json.dumps(job))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=stretched(60))
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (0, 0, 0) == (figures["lost"], figures["disordered"], figures["errors"])
    assert 0 < figures["cpu_us_per_delivery"]
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_peer_is_passed_over_with_a_hint_when_it_is_not_installed() -> None:
    """One line says how to install it."""
    options = {"polls": 1, "events_per_second": 1, "seconds": 1, "size_bytes": 120}
    job = {"scenario": "fanout", "target": "nchan", "options": options}
    without = "from bench import measure, targets; targets.shutil.which = lambda *_, **__: None; measure.main()"
    command = (sys.executable, "-c", without, json.dumps(job))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=stretched(60))
    assert (EXIT_MISSING, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "apt-get install" in done.stderr


def test_table_and_pictures_tell_the_ratios_when_there_are_results(tmp_path: Path) -> None:
    """What is kept can be read again, and drawn."""
    experiment = full()[0]
    kept = Results(
        machine={},
        commit="c",
        date="d",
        measured=[
            Measured(
                experiment=experiment.name,
                title=experiment.title,
                target=target,
                options=experiment.options,
                headline=experiment.headline,
                runs=[{name: value * factor for name, value in FIGURES.items()}] if factor else [],
                missing=None if factor else "not installed",
            )
            for target, factor in (("roots", 1.0), ("nchan", 2.0), ("floor", 0.5), ("granian", 0.0))
        ],
    )
    kept.save(tmp_path / "results.json")
    lines = list(Results.load(tmp_path / "results.json").table())
    assert any(line.startswith("| roots | 1 | 12 (0.50 of nchan, 2.00 of floor)") for line in lines)
    assert any("not installed" in line for line in lines)
    pictures = plots.draw(kept, tmp_path / "pictures")
    assert ["fanout-latency.svg", "fanout-cpu.svg"] == [path.name for path in pictures]
    assert all(path.read_text(encoding="utf-8").rstrip().endswith("</svg>") for path in pictures)
