"""How long the client waits between tries."""

from hypothesis import given
from hypothesis import strategies as st

from cornelius.transport import FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, Backoff


@given(retry_after_seconds=st.floats(0, 120), tries=st.integers(1, 20))
def test_backoff_stays_in_its_range_when_tries_fail(retry_after_seconds: float, tries: int) -> None:
    """The range doubles up to its bound, on top of what the server asks for."""
    backoff = Backoff()
    for number in range(tries):
        waited = backoff.next_seconds(retry_after_seconds) - retry_after_seconds
        assert -1e-9 <= waited <= min(FIRST_BACKOFF_SECONDS * 2**number, MAX_BACKOFF_SECONDS) + 1e-9


def test_backoff_differs_between_clients_when_they_fail_together() -> None:
    """Full jitter: clients that were cut off at one moment come back at different ones."""
    assert len({Backoff().next_seconds() for _ in range(100)}) > 90
