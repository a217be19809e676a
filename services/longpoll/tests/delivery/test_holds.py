"""How long polls are held, on a clock of the test's own."""

import itertools
import statistics
from collections import Counter

import pytest

from roots.contracts.timing import MAX_HOLD_SECONDS
from roots_longpoll.delivery import holds
from roots_longpoll.delivery.holds import Holds
from roots_longpoll.delivery.poll import Poll
from roots_longpoll.delivery.states import State

from ..dispatcher_support import FakeReply

BEGAN = 1000.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = BEGAN

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that holds go by."""
    clock = Clock()
    monkeypatch.setattr(holds, "time", clock)
    return clock


def held_for(seconds: float, state: State = State.HELD) -> Poll:
    """Return a poll of nobody whose hold ends `seconds` after the clock's beginning."""
    poll = Poll(FakeReply(), b"", 0, 0, 0, BEGAN, BEGAN + seconds)
    poll.state = state
    return poll


@pytest.mark.parametrize("hold_seconds", [0.1, 1.0, 25.0, MAX_HOLD_SECONDS])
def test_holds_are_spread_evenly_over_the_last_fifth_when_many_are_drawn(hold_seconds: float) -> None:
    """I7: none is shorter or longer, and clients that came together don't come back together."""
    waiting = Holds(hold_seconds)
    drawn = [waiting.next_seconds() for _ in range(1000)]
    assert 0.8 * hold_seconds <= min(drawn) <= max(drawn) <= hold_seconds
    fifths = Counter(min(4, int((one / hold_seconds - 0.8) / 0.04)) for one in drawn)
    assert all(120 <= fifths[fifth] <= 280 for fifth in range(5))
    assert statistics.pstdev(later - earlier for earlier, later in itertools.pairwise(drawn)) > 0.05 * hold_seconds


def test_only_held_polls_are_due_when_their_time_has_come(clock: Clock) -> None:
    """What is still being read or looked up is not answered in between."""
    early, late, ahead = held_for(1.0), held_for(2.0), held_for(1.0, State.AHEAD)
    others = [held_for(1.0, state) for state in State if state not in {State.HELD, State.AHEAD}]
    clock.now += 1.5
    assert [early, ahead] == Holds.due([late, early, *others, ahead])
    assert [True, False] == [Holds.is_over(early), Holds.is_over(late)]


def test_every_hold_is_due_when_the_clock_jumps(clock: Clock) -> None:
    """A process that was stopped for minutes catches up at once."""
    polls = [held_for(seconds) for seconds in (1.0, 20.0, MAX_HOLD_SECONDS)]
    clock.now += 10 * MAX_HOLD_SECONDS
    assert polls == Holds.due(polls)
