"""How the rows of the outbox are cut into batches."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cornelius.messages import RENDERINGS
from roots.contracts.events import Event
from roots_outbox.database import Row, batches, superseded

EVENT = Event(path="tasks", message=b"{}", event_id="x", committed_ns=0)


@given(st.lists(st.integers(min_value=1, max_value=5)), st.integers(min_value=1, max_value=4))
def test_batches_never_repeat_a_key_when_cut(keys: list[int], limit: int) -> None:
    """I2: the batches are the rows in order, each is bounded, and none has an ordering key twice."""
    rows = [Row(id=number, ordering_key=str(key), event=EVENT) for number, key in enumerate(keys)]
    cut = list(batches(rows, limit))
    assert [row for batch in cut for row in batch] == rows
    for batch in cut:
        assert 1 <= len(batch) <= limit
        assert len({row.ordering_key for row in batch}) == len(batch)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([RENDERINGS, "tasks"]), st.sampled_from([b"1", b"2"])))
)
def test_renderings_are_left_out_when_a_later_one_has_their_state(written: list[tuple[str, str, bytes]]) -> None:
    """I2: of each object the last one stays before each message of its key, and no message is left out."""
    rows = [
        Row(id=number, ordering_key=key, event=Event(path=path, message=message, event_id="x", committed_ns=0))
        for number, (key, path, message) in enumerate(written)
    ]
    left_out = set(superseded(rows))
    for row in rows:
        later = [other for other in rows[row.id + 1 :] if other.ordering_key == row.ordering_key]
        before = itertools.takewhile(lambda other: other.event.path == RENDERINGS, later)
        has_later = any(other.event.message == row.event.message for other in before)
        assert (row.id in left_out) == (row.event.path == RENDERINGS and has_later)
