"""Which clients' paths end when, as the index keeps it."""

from roots_subscriptions.grants.ends import Ends


def test_clients_are_taken_once_and_in_order_when_their_end_has_come() -> None:
    """The earliest come first, no more at a time than asked for, and none before its second."""
    ends = Ends()
    for uid, second in {"c": 12, "a": 10, "b": 11, "later": 13}.items():
        ends.put(uid, second)
    assert {} == ends.take(9.99, 5)
    assert {"a": 10, "b": 11} == ends.take(12.5, 2)
    assert {"c": 12} == ends.take(12.5, 2)
    assert ({}, 1) == (ends.take(12.99, 2), len(ends))


def test_nothing_is_due_when_the_end_was_moved_or_is_gone() -> None:
    """A renewed token's end stands alone, and of a client without an end nothing is left (I7)."""
    ends = Ends()
    ends.put("renewed", 10)
    ends.put("renewed", 20)
    ends.put("gone", 10)
    ends.discard("gone")
    ends.discard("unknown")
    assert ({}, 1) == (ends.take(19.0, 9), len(ends))
    assert {"renewed": 20} == ends.take(20.0, 9)
    assert 0 == len(ends)


def test_newer_end_stays_when_an_older_one_is_put_back() -> None:
    """What failed is tried again, unless a later record has come meanwhile."""
    ends = Ends()
    ends.put("a", 10)
    ends.put("b", 10)
    taken = ends.take(10.0, 9)
    ends.put("b", 20)
    ends.put_back(taken)
    assert {"a": 10} == ends.take(10.0, 9)
    assert {"b": 20} == ends.take(20.0, 9)
