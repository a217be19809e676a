"""How a clock is compared with the broker's."""

import math

import pytest

from roots.nats.clock import ClockCheck
from roots.nats.streams import skew_seconds, state_of

INFO = b'{"created":"2026-11-23T09:11:28Z","state":{"first_seq":1,"last_seq":1},"config":{},%s"total":0}'


@pytest.mark.parametrize(
    ("asked_at", "answered_at", "skew"),
    [
        (99.0, 101.0, 0.0),
        (100.0, 100.0, 0.0),
        (10.0, 200.0, 0.0),
        (190.0, 190.5, 90.0),
        (10.0, 10.5, -89.5),
        (101.0, 160.0, 1.0),
        (40.0, 99.0, -1.0),
    ],
)
def test_skew_is_what_the_round_trip_does_not_explain(asked_at: float, answered_at: float, skew: float) -> None:
    """The broker said 100 at a moment between the question and its answer."""
    assert skew == skew_seconds(100.0, asked_at, answered_at)


@pytest.mark.parametrize(("stamp", "skew"), [(b'"ts":"1970-01-01T00:01:40.123456789Z",', 99.876543), (b"", 0.0)])
def test_state_has_the_skew_when_the_answer_has_a_time(stamp: bytes, skew: float) -> None:
    """An older server that tells no time is not compared with."""
    state = state_of("S", INFO % stamp, asked_at=200.0, answered_at=200.5)
    assert math.isclose(skew, state.skew_seconds, abs_tol=1e-5)


@pytest.mark.parametrize(("skew", "is_ok"), [(0.0, True), (5.0, True), (-5.0, True), (5.1, False), (-5.1, False)])
def test_clock_is_refused_when_it_differs_by_more_than_a_few_seconds(skew: float, is_ok: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """The check says by how much, and holds again once the clock is right."""
    clock = ClockCheck()
    clock.note(skew)
    found = clock.check()
    assert is_ok == found.is_ok
    if not is_ok:
        side = "ahead of" if skew > 0 else "behind"
        assert found.detail == f"this clock is 5.1 s {side} the clock of NATS"
    clock.note(0.0)
    assert clock.check().is_ok
