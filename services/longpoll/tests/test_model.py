"""Replicas and clients through arbitrary interleavings, against a model that is simple enough to be right.

Each of these breakages of the dispatcher and what it uses was made by hand, and caught with five seeds out of five:

- registering: a poll that is held, on the short way or the long one, is not registered for its paths;
- grants: `since` is ignored, or a grant of an older log; a record is not compared with the store, or compared for ever;
  a path or a record that has ended is still received; changes are told twice, never, or out of order;
- fan-out: it answers again who was answered; it takes the body of other grants or another event; it leaves out
  one of its looks at a grant's start (`min_seq`), its log, its end, the ring's tail, or whether the view is stale;
- replay: a reading is told though the grants have changed or the view is stale; what has expired is not told; events
  are cut without moving the position back;
- position: a hold that ends gives the cursor of now though the view is stale, the poll ahead, or an event in the queue;
  a cursor ahead of the ring is called a gap after one look at the stream's end; another log is not noticed;
- ring: the tail is one off, a cut answer counts all as told, a part of an answer is out of order.

Most seeds, but not each, catch a reading of a log that is gone, a grant of a newer log, the short way for a cursor of
another log, and a hold that runs out while the world is asked; the first and the last have tests of their own.

Other seeds: `ROOTS_TEST_EXAMPLES=25 pytest --hypothesis-seed=N services/longpoll/tests/test_model.py`.
"""

import time

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.testkit.examples import IS_LONG, drawn

from roots_longpoll.delivery import dispatcher, fanout
from roots_longpoll.delivery.poll import Poll
from roots_longpoll.delivery.states import TABLE

from .model_steps import STEPS, Step
from .model_system import System
from .model_truth import Clock

# The same runs each time, so that a failure is a change's; other seeds are for a developer's own machine.
FIXED = settings(
    max_examples=drawn(200),
    stateful_step_count=50,
    deadline=None,
    derandomize=not IS_LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)

MOVES = {(state, after) for state, steps in TABLE.items() for after in steps.values()}

clock = Clock()


class WatchedPoll(Poll, eq=False, gc=False):
    """A poll that moves only as the table of states has it."""

    def __setattr__(self, name: str, value: object) -> None:
        """Change a member; fail when it is a state that can't follow."""
        assert name != "state" or (self.state, value) in MOVES, (self.state, value)
        super().__setattr__(name, value)


class DeliveryMachine(RuleBasedStateMachine):
    """Each step is one thing that may happen next, anywhere in the system."""

    system: System | None = None

    @initialize(preloads=st.sampled_from([(0, 0), (3, 0), (3, 3)]), slice_size=st.sampled_from([2, 1]))
    def begin(self, preloads: tuple[int, int], slice_size: int) -> None:
        """Begin with some events in the stream, and with clients that receive a path."""
        fanout.SLICE = slice_size
        self.system = System(clock, preloads)

    @rule(step=STEPS)
    def go(self, step: Step) -> None:
        """Let one thing happen."""
        name, arguments = step
        getattr(self.system, name)(**arguments)

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        """I4: a poll that is held has nothing to receive."""
        if self.system is not None:
            self.system.check()

    def teardown(self) -> None:
        """Whatever happened, it can be set right."""
        if self.system is not None:
            self.system.settle()


def test_every_client_hears_everything_when_anything_happens_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """I1, I2, I3, I4, I5, I6, I7, I9 hold through lost answers, lag, eviction, replays, restarts and new streams."""
    monkeypatch.setattr(dispatcher, "Poll", WatchedPoll)
    monkeypatch.setattr(fanout, "SLICE", fanout.SLICE)
    monkeypatch.setattr(time, "time", clock.time)
    monkeypatch.setattr(time, "monotonic", clock.time)
    run_state_machine_as_test(DeliveryMachine, settings=FIXED)
