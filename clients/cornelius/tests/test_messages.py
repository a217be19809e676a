"""How messages are put into requests."""

import json

from hypothesis import given
from hypothesis import strategies as st

from cornelius import Message
from cornelius.messages import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, batches

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
# Repeated, so that a few of them fill a request.
LARGE = st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=4), st.integers(1, 60_000))


@given(texts=st.lists(st.one_of(TEXTS, LARGE), max_size=40))
def test_batches_hold_every_message_in_order_when_they_are_joined(texts: list[str]) -> None:
    """I2: nothing is lost, doubled or moved, and no request is too large, unless one message is."""
    messages = [Message("tasks", text) for text in texts]
    joined = []
    for group, body in batches(messages):
        assert [{"path": item.path, "message": item.message, "id": item.id} for item in group] == json.loads(body)
        assert len(body) <= MAX_BATCH_BYTES or 1 == len(group)
        assert 1 <= len(group) <= MAX_BATCH_MESSAGES
        joined += group
    assert messages == joined


def test_ids_differ_when_messages_are_alike() -> None:
    """Two equal updates are two updates."""
    assert 1000 == len({Message("tasks", "").id for _ in range(1000)})
