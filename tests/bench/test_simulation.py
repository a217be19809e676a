"""The simulation of docs/scaling.md: it behaves as a replica does, and is as near to what was measured as it says."""

import dataclasses

import msgspec
import pytest
from bench.errors import LoadError
from bench.results import Results
from bench.simulate import DOCUMENT, RESULTS
from bench.simulation import document
from bench.simulation.check import Compared, compare
from bench.simulation.clients import Load, World
from bench.simulation.parameters import Parameters
from bench.simulation.projections import CORE_PART, Projection
from bench.simulation.replica import HOLD_SECONDS, Costs, Event, Replica, Seen

COSTS = Costs(answer=5e-6, poll=5e-6, ended=5e-6, event=5e-6, accept=2e-5)


@pytest.fixture(scope="module")
def results() -> Results:
    """Return what was measured last."""
    return Results.load(RESULTS / "results.json")


@pytest.fixture(scope="module")
def compared(results: Results) -> list[Compared]:
    """Return every figure that is simulated and was measured."""
    return list(compare(results))


def near() -> World:
    """Return clients whose round trips all take 0.05 s."""
    return World(median=0.05, sigma=0.0, seed=1)


def test_simulation_is_as_near_as_it_says_when_it_is_compared_with_the_measurements(compared: list[Compared]) -> None:
    """The model is worth as much as its errors are small."""
    off = [
        f"{one.what}: {one.simulated:.3g} instead of {one.measured:.3g} {one.unit}"
        for one in compared
        if one.bounds is not None and not one.bounds[0] <= one.error <= one.bounds[1]
    ]
    assert [] == off


def test_document_has_the_latest_figures_when_they_were_measured_anew(
    results: Results, compared: list[Compared]
) -> None:
    """`python -m bench.simulate` writes them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    sections = {"costs": document.costs(results), "checks": document.checks(compared)}
    assert text == document.updated(text, sections), "run python -m bench.simulate"


def test_simulation_says_the_same_when_it_runs_again() -> None:
    """Chance is drawn from a seed."""

    def run() -> Seen:
        replica = Replica(COSTS, World(median=0.05, sigma=0.6, seed=2), seed=1)
        replica.hold(500, came_together=False)
        for number in range(5):
            replica.publish(Event(published=number, live=number + 0.001, hearers=range(0, 500, number + 1)))
        return replica.run(30.0)

    assert run() == run()


def test_every_event_is_delivered_once_when_polls_are_away_at_some() -> None:
    """A client that was on its way back gets all that it missed in one answer."""
    replica = Replica(COSTS, near(), seed=1)
    replica.hold(1, came_together=True)
    for published in (1.0, 1.01, 1.02):
        replica.publish(Event(published=published, live=published, hearers=[0]))
    seen = replica.run(2.0)
    # The first at once; its next poll comes 0.05 s later, and takes the other two along.
    assert [0.0, 0.04, 0.03] == [round(seconds, 3) for seconds in seen.written]


def test_answers_take_turns_with_polls_when_many_hear_an_event() -> None:
    """The next polls of the first slice come before the second slice is answered, as in a replica."""
    one_slice = Replica(COSTS, Load(delivery=1e-9), seed=1)
    one_slice.hold(512, came_together=True)
    two_slices = Replica(COSTS, Load(delivery=1e-9), seed=1)
    two_slices.hold(1024, came_together=True)
    last = []
    for replica, polls in ((one_slice, 512), (two_slices, 1024)):
        replica.publish(Event(published=0.0, live=0.0, hearers=range(polls)))
        last.append(replica.run(1.0).written[-1])
    assert 512 * 5e-6 + 5e-6 == pytest.approx(last[0])
    assert 1024 * 5e-6 + 512 * 5e-6 + 5e-6 == pytest.approx(last[1])


def test_holds_end_in_their_last_fifth_when_nothing_happens() -> None:
    """As the protocol says, and at the replica's ticks."""
    early, late = (Replica(COSTS, near(), seed=1) for _ in range(2))
    for replica in (early, late):
        replica.hold(100, came_together=True)
    assert 0 == early.run(HOLD_SECONDS * 0.8 - 0.1).ended_holds
    assert 100 == late.run(HOLD_SECONDS + 1.0).ended_holds


def test_clients_wait_for_nats_when_their_grants_are_unknown() -> None:
    """A batch of records for those who come together."""
    held = []
    for nats_record in (0.0, 0.001):
        replica = Replica(dataclasses.replace(COSTS, nats_record=nats_record), near(), seed=1)
        for client in range(256):
            replica.connect(client, 0.01)
        held.append(max(replica.run(5.0).held_at.values()))
    assert 0.01 + 256 * 2.5e-5 == pytest.approx(held[0])
    assert held[0] + 0.256 == pytest.approx(held[1], abs=0.01)


def test_replicas_stay_below_their_part_of_a_core_when_they_are_as_many_as_needed(results: Results) -> None:
    """One fewer would be too few, for load or for held polls."""
    projection = Projection(results)
    for events_per_second, hearers in ((100, 1), (1_000, 1_000)):
        needed = projection.replicas(1_000_000, events_per_second, hearers)
        assert needed is not None
        assert projection.core_part(1_000_000, needed, events_per_second, hearers) <= CORE_PART
        is_too_few = projection.core_part(1_000_000, needed - 1, events_per_second, hearers) > CORE_PART
        assert needed == 20 or is_too_few
    assert projection.replicas(1_000_000, 1_000_000, 1) is None


def test_error_names_the_command_when_a_figure_was_not_measured(results: Results) -> None:
    """What is missing can be had."""
    without = [one for one in results.measured if one.experiment != "storm"]
    with pytest.raises(LoadError, match="python -m bench --only storm"):
        Parameters.of(msgspec.structs.replace(results, measured=without))
