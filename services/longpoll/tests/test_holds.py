"""When holds end, on a clock of the test's own."""

import pytest

from roots_longpoll import holds
from roots_longpoll.cursor import Cursor
from roots_longpoll.holds import MAX_HOLD_SECONDS, TICKS_PER_SECOND, Holds
from roots_longpoll.poll import Poll

from .desk_support import FakeReply


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that holds go by."""
    clock = Clock()
    monkeypatch.setattr(holds, "time", clock)
    return clock


def new_poll() -> Poll:
    """Return a poll of nobody."""
    return Poll(reply=FakeReply(), uid=b"", cursor=Cursor(0, 0, 0), own=b"", began=0.0)


@pytest.mark.parametrize("hold_seconds", [0.1, 1.0, 25.0, MAX_HOLD_SECONDS])
def test_hold_ends_between_four_fifths_and_all_of_it_when_time_passes(clock: Clock, hold_seconds: float) -> None:
    """Every poll is due once, within a tick of its time (I7)."""
    waiting = Holds(hold_seconds)
    polls = {new_poll() for _ in range(200)}
    for poll in polls:
        waiting.add(poll)
    tick = 1 / TICKS_PER_SECOND
    while polls:
        clock.now += tick
        due = waiting.due()
        held = clock.now - 1000.0
        if due:
            assert 0.8 * hold_seconds - tick <= held <= hold_seconds + tick
        assert held <= hold_seconds + tick
        assert polls >= set(due)
        polls -= set(due)


def test_hold_never_ends_when_it_was_taken_back(clock: Clock) -> None:
    """An answered poll is not answered again."""
    waiting = Holds(1.0)
    poll = new_poll()
    waiting.add(poll)
    waiting.remove(poll)
    waiting.remove(poll)
    clock.now += 2.0
    assert [] == waiting.due()


def test_every_hold_ends_once_when_the_clock_jumps_past_all_buckets(clock: Clock) -> None:
    """A process that was stopped for minutes catches up at once."""
    waiting = Holds(MAX_HOLD_SECONDS)
    polls = [new_poll() for _ in range(50)]
    for poll in polls:
        waiting.add(poll)
    clock.now += 10 * MAX_HOLD_SECONDS
    assert set(polls) == set(waiting.due())
    assert [] == waiting.due()
