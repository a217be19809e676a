"""A poll's life as a table: its states, what can happen to it, and what follows.

The dispatcher takes the rare steps from the table. The hot path writes HELD and DONE itself, and tests compare both
with the table. docs/how-a-poll-works.md shows it as a diagram.
"""

import enum
from collections.abc import Mapping
from typing import Final


class State(enum.IntEnum):
    """Where a poll stands."""

    NEW = 0
    """It has just arrived."""
    LOOKING = 1
    """Its grant record is being read from NATS."""
    READING = 2
    """Its backlog is being read from the event stream."""
    AHEAD = 3
    """Its cursor is ahead of what this replica has of the log."""
    HELD = 4
    """It waits for news."""
    DONE = 5
    """It has been answered, or its client has left."""


class Step(enum.Enum):
    """What can happen to a poll. The value is its label in the diagram."""

    RECORD_NEEDED = "record unknown or older than the cursor"
    REPLAY_NEEDED = "cursor older than the ring"
    LOG_NEEDED = "cursor ahead of the log"
    NO_NEWS = "nothing to report"
    NEWS = "events, grant changes or a gap"
    NO_RECORD = "no record in the store"
    READ_FAILED = "NATS did not answer in time"
    HOLD_ENDED = "hold ended"
    RELEASED = "replica drains"
    SUPERSEDED = "newer request"
    ABANDONED = "client left"


# A poll is considered when it arrives, and again whenever what it waited for has come.
_ARRIVED: Final = {
    Step.RECORD_NEEDED: State.LOOKING,
    Step.REPLAY_NEEDED: State.READING,
    Step.LOG_NEEDED: State.AHEAD,
    Step.NO_NEWS: State.HELD,
    Step.NEWS: State.DONE,
}
_CONSIDERED: Final = _ARRIVED | {
    Step.NO_RECORD: State.DONE,
    Step.SUPERSEDED: State.DONE,
    Step.ABANDONED: State.DONE,
}
_ASKED: Final = _CONSIDERED | {Step.READ_FAILED: State.DONE}
_WAITING: Final = _CONSIDERED | {Step.HOLD_ENDED: State.DONE, Step.RELEASED: State.DONE}

TABLE: Final[Mapping[State, Mapping[Step, State]]] = {
    State.NEW: _ARRIVED,
    State.LOOKING: _ASKED,
    State.READING: _ASKED,
    State.AHEAD: _WAITING,
    State.HELD: _WAITING,
    State.DONE: {},
}
"""The state after each step. A step that a state lacks does not happen in it, or changes nothing."""
