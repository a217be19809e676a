"""How long polls are held: a time for each, and those whose time has come, without a timer for any of them."""

import itertools
import random
import time
from collections.abc import Callable, Iterable

from roots_longpoll.delivery.poll import Poll
from roots_longpoll.delivery.states import TABLE, Step

# All held polls are looked at so often: a look at one costs less than to note its deadline in an order of deadlines.
TICKS_PER_SECOND = 2
# Holds end spread between this part of their time and all of it: clients that came together part.
_SHORTEST = 0.8
_DRAWN = 4093


class Holds:
    """The lengths of holds, a random 0.8-1.0 of `hold_seconds`.

    Shape: next_seconds returns the length of the next hold. Lengths are drawn once and taken in turn, since a random
        number for each poll would cost as much as all else about its hold.
    """

    def __init__(self, hold_seconds: float) -> None:
        spread = [hold_seconds * (_SHORTEST + (1 - _SHORTEST) * place / _DRAWN) for place in range(_DRAWN)]
        random.shuffle(spread)
        self.next_seconds: Callable[[], float] = itertools.cycle(spread).__next__

    @staticmethod
    def due(polls: Iterable[Poll]) -> list[Poll]:
        """Return those of `polls` whose hold ends now."""
        now = time.monotonic()
        return [poll for poll in polls if poll.due <= now and Step.HOLD_ENDED in TABLE[poll.state]]

    @staticmethod
    def is_over(poll: Poll) -> bool:
        """Return whether the time of `poll` has come."""
        return poll.due <= time.monotonic()
