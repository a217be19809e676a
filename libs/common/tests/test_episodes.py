"""Failures in a row are logged once, with their end."""

import pytest
import structlog.testing

from roots.runtime import logs
from roots.runtime.episodes import Episode


@pytest.fixture
def episode() -> Episode:
    """Return the episode of a work that has not failed."""
    return Episode(logs.get(__name__), "work", stream="S")


def test_failures_are_logged_once_when_there_are_many_in_a_row(episode: Episode) -> None:
    """The first has its reason, the end has how many there were; the next row is logged again."""
    with structlog.testing.capture_logs() as lines:
        episode.ended()
        for number in range(3):
            episode.failed(f"reason {number}")
        episode.ended()
        episode.ended()
        episode.failed("another")
    first, end, next_row = lines
    assert ("work_failed", "warning", "S", "reason 0") == tuple(
        first[key] for key in ("event", "log_level", "stream", "detail")
    )
    assert ("work_recovered", "info", "S", 3) == tuple(end[key] for key in ("event", "log_level", "stream", "failures"))
    assert end["seconds"] >= 0
    assert ("work_failed", "another") == (next_row["event"], next_row["detail"])


def test_pause_doubles_up_to_the_longest_when_failures_go_on(episode: Episode) -> None:
    """The first pause is the shortest; after the end it is again."""
    with structlog.testing.capture_logs():
        pauses = []
        for _ in range(5):
            episode.failed("reason")
            pauses.append(episode.pause(0.25, 2.0))
        for _ in range(10_000):
            episode.failed("reason")
        assert 2.0 == episode.pause(0.25, 2.0)
        episode.ended()
        episode.failed("reason")
        assert 0.25 == episode.pause(0.25, 2.0)
    assert [0.25, 0.5, 1.0, 2.0, 2.0] == pauses
