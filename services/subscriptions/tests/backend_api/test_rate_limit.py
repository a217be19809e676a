"""The token bucket of each back end."""

import pytest

from roots.auth.backends import Backend
from roots_subscriptions.backend_api.rate_limit import RateLimits

NOW = 1000.0


def backend(name: str, *, rate: float = 10.0, burst: int = 1000) -> Backend:
    """Return a back end with a rate."""
    return Backend(name=name, key_digest=b"", publish=(), grant=(), rate=rate, burst=burst)


class Clock:
    """A clock that stands until it is moved."""

    seconds = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def test_bucket_gives_its_burst_and_then_its_rate_when_taken_from() -> None:
    """I7: over the burst the answer is how long to wait, and after that time the tokens are there."""
    clock = Clock()
    limits = RateLimits(clock)
    todos = backend("todos")
    assert 0.0 == limits.take(todos, 1000)
    assert pytest.approx(0.5) == limits.take(todos, 5)
    clock.seconds += 0.4
    assert pytest.approx(0.1) == limits.take(todos, 5)
    clock.seconds += 0.1
    assert 0.0 == limits.take(todos, 5)
    assert limits.take(todos, 1) > 0


def test_bucket_is_not_over_full_when_it_rests() -> None:
    """I7: a back end that was quiet for a day has one burst to its credit, not a day's rate."""
    clock = Clock()
    limits = RateLimits(clock)
    limits.take(backend("todos"), 1)
    clock.seconds += 86_400
    assert 0.0 == limits.take(backend("todos"), 1000)
    assert limits.take(backend("todos"), 1) > 0


def test_bucket_is_each_back_ends_own_when_there_are_two() -> None:
    """One back end that does too much is in no other's way."""
    limits = RateLimits(Clock())
    limits.take(backend("todos"), 1000)
    assert limits.take(backend("todos"), 1) > 0
    assert 0.0 == limits.take(backend("news"), 1000)


def test_bucket_follows_when_the_policy_changes_the_rate() -> None:
    """A new policy counts at once, without a new burst."""
    clock = Clock()
    limits = RateLimits(clock)
    limits.take(backend("todos"), 1000)
    clock.seconds += 1
    assert 0.0 == limits.take(backend("todos", rate=100.0, burst=2000), 100)
    assert limits.take(backend("todos", rate=100.0, burst=2000), 1) > 0
