"""After a call has failed, the next ones do not wait for a back-end API that is away."""

import itertools
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.testkit.deadlines import clock, stretched

from cornelius import BreakerOpenError, Dudley, UnavailableError
from cornelius.breaker import MAX_OPEN_SECONDS, OPEN_SECONDS, TRIAL_SECONDS, Breaker
from cornelius.errors import DeadlineError

from .support import CUT, Log, ScriptedServer, client_of


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return it."""
        return self.seconds


def opened(reason: str = "no connection", **members: float) -> tuple[Breaker, Clock]:
    """Return a breaker that has just opened, and its clock."""
    clock = Clock()
    breaker = Breaker(clock)
    assert breaker.admit() is False
    breaker.open(DeadlineError(reason, **members))
    return breaker, clock


def is_refused(breaker: Breaker) -> bool:
    """Return whether a call fails at once."""
    try:
        breaker.admit()
    except BreakerOpenError:
        return True
    return False


def test_breaker_lets_one_trial_through_when_its_time_is_over() -> None:
    """The others fail at once until it has ended, one way or the other."""
    breaker, clock = opened()
    assert is_refused(breaker)
    clock.seconds = OPEN_SECONDS
    assert breaker.admit() is True
    assert is_refused(breaker)
    breaker.open(DeadlineError("no connection", try_seconds=0.0))
    clock.seconds += OPEN_SECONDS
    assert breaker.admit() is True
    breaker.close()
    assert (False, False) == (breaker.admit(), breaker.admit())


@given(try_seconds=st.floats(0, 100), retry_after_seconds=st.floats(0, 1000))
def test_breaker_stays_open_for_a_bounded_time_when_a_try_has_hung(
    try_seconds: float, retry_after_seconds: float
) -> None:
    """I7: tries that hang take a quarter of the time at most, and no answer makes the pause endless."""
    breaker, clock = opened(try_seconds=try_seconds, retry_after_seconds=retry_after_seconds)
    clock.seconds = min(MAX_OPEN_SECONDS, max(OPEN_SECONDS, 3 * try_seconds, retry_after_seconds)) - 0.01
    assert is_refused(breaker)
    clock.seconds += 0.02
    assert breaker.admit() is True


def test_breaker_lets_another_trial_through_when_one_never_ends() -> None:
    """Its thread was killed, or it went on in the parent of a forked process."""
    breaker, clock = opened()
    clock.seconds = OPEN_SECONDS
    assert breaker.admit() is True
    clock.seconds += TRIAL_SECONDS
    assert breaker.admit() is True


def test_breaker_lets_one_trial_through_when_many_threads_ask_at_once() -> None:
    """Without a lock."""
    for _ in range(50):
        breaker, clock = opened()
        clock.seconds = OPEN_SECONDS
        barrier, trials = threading.Barrier(8), list[bool]()

        def ask(breaker: Breaker = breaker, barrier: threading.Barrier = barrier, trials: list[bool] = trials) -> None:
            barrier.wait()
            if not is_refused(breaker):
                trials.append(True)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [True] == trials


def test_calls_fail_at_once_when_the_api_was_away_a_moment_ago() -> None:
    """I7: the sum over many calls is that of the first one."""
    with ScriptedServer([]) as server:
        dudley = client_of(server, timeout_seconds=1)
    with pytest.raises(UnavailableError, match="the last try: no connection"):
        dudley.update("tasks", "1")
    started = clock()
    calls: list[Callable[[], object]] = [
        lambda: dudley.update("tasks", "1"),
        lambda: dudley.updates([("tasks", "1")]),
        lambda: dudley.connect("uid", ["tasks"]),
        lambda: dudley.explain("uid"),
    ]
    for call in calls * 25:
        with pytest.raises(UnavailableError, match="no connection") as caught:
            call()
        assert caught.value.retry_after_seconds <= OPEN_SECONDS
    assert clock() - started < 1


def test_refused_call_has_its_messages_when_nothing_was_sent() -> None:
    """They can be published later, with their ids."""
    with ScriptedServer([]) as server:
        dudley = client_of(server, timeout_seconds=stretched(0.2))
    with pytest.raises(UnavailableError):
        dudley.update("a", "1")
    with pytest.raises(BreakerOpenError) as caught:
        dudley.updates([("a", "1"), ("a", "2")])
    assert ["1", "2"] == [message.message for message in caught.value.messages]
    assert str(caught.value) == "not tried, since an earlier call has failed: no connection"


def test_calls_go_through_when_the_api_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is an ordinary call that makes one try; when that is answered, no call waits any more."""
    monkeypatch.setattr("cornelius.breaker.OPEN_SECONDS", 0.05)
    monkeypatch.setattr("cornelius.breaker.PAUSE_PER_TRIAL", 0.0)
    log, is_away = Log(), threading.Event()
    is_away.set()
    answer = lambda request: CUT if is_away.is_set() else log.publish(request)  # noqa: E731
    with ScriptedServer(itertools.repeat(answer)) as server:
        dudley = client_of(server, timeout_seconds=1)
        assert "the last try" in failure_of(dudley)
        requests = len(server.requests)
        while (failure := failure_of(dudley)).startswith("not tried"):
            assert requests == len(server.requests)
        assert (requests + 1, "the time is over; the last try: the connection was lost before the answer") == (
            len(server.requests),
            failure,
        )
        is_away.clear()
        while failure_of(dudley):
            pass
        assert ["", ""] == [failure_of(dudley), failure_of(dudley)]
    assert 3 == len(log.messages)


def failure_of(dudley: Dudley) -> str:
    """Publish a message, and return what has failed."""
    try:
        dudley.update("tasks", "1")
    except UnavailableError as error:
        return str(error)
    return ""
