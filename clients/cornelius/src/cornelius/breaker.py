"""A circuit breaker: after a call has failed, the next calls fail at once instead of each waiting for its whole time.

Promises: of all threads one makes the next try; a thread that never comes back, or a fork in the middle of its try,
blocks nobody for longer than TRIAL_SECONDS. Shape: closed, no failure is known; open until a time; half-open when that
has come, and the first call is a trial.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cornelius.errors import BreakerOpenError, DeadlineError

OPEN_SECONDS = 2.0
# A trial that hangs costs its caller up to ten seconds, so that the pause after it is longer too.
PAUSE_PER_TRIAL = 3.0
MAX_OPEN_SECONDS = 30.0
# Longer than a try may take.
TRIAL_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class _Open:
    """Until when calls fail, and why. `trials` has one item, which the thread that makes the next try takes out."""

    until: float
    reason: str
    trials: list[None] = field(default_factory=lambda: [None])


class Breaker:
    """The state of one back-end API. It has no lock: a lock held at a fork is never released in the child."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._state: _Open | None = None

    def admit(self) -> bool:
        """Return whether the call that begins is a trial, which makes one try only. Errors: BreakerOpenError."""
        state = self._state
        if state is None:
            return False
        left_seconds = state.until - self._now()
        if left_seconds > 0:
            raise BreakerOpenError(state.reason, retry_after_seconds=left_seconds)
        try:
            state.trials.pop()
        except IndexError:
            raise BreakerOpenError(state.reason, retry_after_seconds=OPEN_SECONDS) from None
        self._state = _Open(self._now() + TRIAL_SECONDS, state.reason)
        return True

    def close(self) -> None:
        """Let all calls through: the back-end API has answered, or the failure is not its own."""
        self._state = None

    def open(self, error: DeadlineError) -> None:
        """Let calls fail for a while, since one has failed by `error`."""
        seconds = max(OPEN_SECONDS, PAUSE_PER_TRIAL * (error.try_seconds or 0.0), error.retry_after_seconds)
        self._state = _Open(self._now() + min(seconds, MAX_OPEN_SECONDS), error.reason)


class NoBreaker(Breaker):
    """For a caller that tries again itself, with pauses of its own: each call is a trial, and none fails at once."""

    def admit(self) -> bool:
        """Let every call make one try."""
        return True

    def open(self, error: DeadlineError) -> None:
        """Let the next call try all the same."""
