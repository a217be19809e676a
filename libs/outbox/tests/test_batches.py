"""How the rows of the outbox are cut into batches."""

from hypothesis import given
from hypothesis import strategies as st

from roots.contracts.events import Event
from roots_outbox.database import Row, batches

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
