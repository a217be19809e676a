"""A poll's life: the dispatcher does in each state what the table has, for everything that can happen."""

import math
from collections.abc import Callable

import pytest

from roots_longpoll.delivery.cursor import Cursor
from roots_longpoll.delivery.poll import Replay
from roots_longpoll.delivery.ring import Backlog, Event
from roots_longpoll.delivery.states import TABLE, State, Step

from ..dispatcher_support import EPOCH, DispatcherBench, FakeReply, event, grant, record

HEAD, BEHIND, BEYOND = 100, 50, 105
LIVE = record(1, {"a": grant(10)})
CHANGED = record(2, {"a": grant(10, 2, since=1)})
ENDED = record(1, {"a": grant(10)}, expires=1.0)


class Life:
    """One poll, brought into a state, with the log's end at HEAD and all before it only in the stream."""

    def __init__(self, state: State, seq: int) -> None:
        self.bench = DispatcherBench(head=HEAD)
        self.needs = self.bench.needs
        self.dispatcher = self.bench.dispatcher
        if state is not State.LOOKING:
            self.bench.put(LIVE)
        self.reply = self.bench.poll(seq, acked=1)
        (self.poll,) = self.dispatcher.held.polls
        if state is State.DONE:
            self.dispatcher.finish_early(self.poll)

    def read_with(self, raw: bytes) -> None:
        """Let the record change while the stream is read for the poll."""
        self.bench.put(raw)
        self.replayed()

    def read_without_record(self) -> None:
        """Let the store turn out to have no record while the stream is read for the poll."""
        self.dispatcher.grants_found(self.poll, None)
        self.replayed()

    def replayed(self, *events: Event, epoch: int = EPOCH) -> None:
        """Let the stream be read for the poll."""
        replay = Replay(backlog=Backlog(list(events), HEAD), expired=(), epoch=epoch)
        self.dispatcher.replayed(self.needs.replays.pop(0), replay)

    def refresh(self) -> None:
        """Let the view be stale for a moment."""
        for is_stale in (True, False):
            self.dispatcher.set_stale(is_stale=is_stale)

    def end_hold(self) -> None:
        """Let the time of the hold come."""
        self.poll.due = -math.inf
        self.dispatcher.tick()


START = {State.LOOKING: HEAD, State.READING: BEHIND, State.AHEAD: BEYOND, State.HELD: HEAD, State.DONE: HEAD}
Action = Callable[[Life], object]

# What happens in every state by the same call.
CALLS: dict[Step, Action] = {
    Step.READ_FAILED: lambda life: life.dispatcher.unavailable(life.poll, "late"),
    Step.HOLD_ENDED: Life.end_hold,
    Step.RELEASED: lambda life: life.dispatcher.release(life.poll),
    Step.SUPERSEDED: lambda life: life.dispatcher.finish_early(life.poll),
    Step.ABANDONED: lambda life: life.dispatcher.abandon(life.poll),
}
# What makes the dispatcher consider a poll, and lets it find so. LOOKING begins at another position where it has to.
CONSIDERED: dict[State, dict[Step, Action]] = {
    State.LOOKING: {
        Step.RECORD_NEEDED: lambda life: life.bench.put(ENDED),
        Step.REPLAY_NEEDED: lambda life: life.bench.found(LIVE),
        Step.LOG_NEEDED: lambda life: life.bench.found(LIVE),
        Step.NO_NEWS: lambda life: life.bench.found(LIVE),
        Step.NEWS: lambda life: life.bench.found(CHANGED),
        Step.NO_RECORD: lambda life: life.bench.found(),
    },
    State.READING: {
        Step.RECORD_NEEDED: lambda life: life.read_with(b""),
        Step.REPLAY_NEEDED: lambda life: life.read_with(CHANGED),
        Step.LOG_NEEDED: lambda life: life.replayed(epoch=EPOCH + 1),
        Step.NO_NEWS: Life.replayed,
        Step.NEWS: lambda life: life.replayed(event(70, "a")),
        Step.NO_RECORD: Life.read_without_record,
    },
    State.AHEAD: {
        Step.RECORD_NEEDED: lambda life: life.bench.put(b""),
        Step.REPLAY_NEEDED: lambda life: life.dispatcher.begin(EPOCH, 200, [], 200),
        Step.LOG_NEEDED: lambda life: life.bench.put(CHANGED),
        Step.NO_NEWS: lambda life: life.dispatcher.skip_to(BEYOND),
        Step.NEWS: lambda life: life.bench.publish("a", seq=BEYOND + 1),
        Step.NO_RECORD: lambda life: life.dispatcher.grants_found(life.poll, None),
    },
    State.HELD: {
        Step.RECORD_NEEDED: lambda life: life.bench.put(b""),
        Step.REPLAY_NEEDED: lambda life: life.dispatcher.begin(EPOCH, 200, [], 200),
        Step.LOG_NEEDED: lambda life: life.dispatcher.begin(EPOCH, BEHIND, [], BEHIND),
        Step.NO_NEWS: Life.refresh,
        Step.NEWS: lambda life: life.bench.publish("a"),
        Step.NO_RECORD: lambda life: life.dispatcher.grants_found(life.poll, None),
    },
}
CONSIDERED[State.DONE] = CONSIDERED[State.HELD]
ARRIVALS: dict[Step, tuple[bytes | None, int, int]] = {
    Step.RECORD_NEEDED: (None, HEAD, 1),
    Step.REPLAY_NEEDED: (LIVE, BEHIND, 1),
    Step.LOG_NEEDED: (LIVE, BEYOND, 1),
    Step.NO_NEWS: (LIVE, HEAD, 1),
    Step.NEWS: (CHANGED, HEAD, 1),
}


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("state", CONSIDERED)
def test_poll_moves_as_in_the_table_when_something_happens(state: State, step: Step) -> None:
    """Each cell, and each empty one: what a state has no step for changes nothing, and answers nobody twice."""
    start = START[state]
    if state is State.LOOKING:
        start = {Step.REPLAY_NEEDED: BEHIND, Step.LOG_NEEDED: BEYOND}.get(step, HEAD)
    life = Life(state, start)
    assert state is life.poll.state
    (CALLS.get(step) or CONSIDERED[state][step])(life)
    expected = TABLE[state].get(step, state)
    assert expected is life.poll.state
    is_answered = state is State.DONE or (expected is State.DONE and step is not Step.ABANDONED)
    assert int(is_answered) == len(life.reply.answers) + len(life.reply.refusals)
    assert (expected is not State.DONE) == (life.poll in life.dispatcher.held.polls)


@pytest.mark.parametrize("step", TABLE[State.NEW])
def test_poll_begins_as_in_the_table_when_it_arrives(step: Step) -> None:
    """A poll that is answered at once is nobody's to wait for."""
    bench, reply = DispatcherBench(head=HEAD), FakeReply()
    raw, seq, acked = ARRIVALS[step]
    if raw is not None:
        bench.put(raw)
    waiting = bench.dispatcher.poll(reply, bench.uid, Cursor(EPOCH, seq, acked))
    expected = TABLE[State.NEW][step]
    assert expected is (State.DONE if waiting is None else waiting.state)
    assert (expected is State.DONE) == reply.is_done


def test_table_has_every_state_and_leaves_none_without_an_end() -> None:
    """Nothing leads out of DONE or back to NEW, and every other state leads to DONE."""
    targets = {state: set(steps.values()) for state, steps in TABLE.items()}
    assert set(State) == set(TABLE)
    assert set() == targets.pop(State.DONE)
    assert all(State.DONE in found and State.NEW not in found for found in targets.values())
