"""Which clients' paths end when, as the index keeps it."""

from roots_subscriptions.grants.expiry_schedule import ExpirySchedule


def test_clients_are_taken_once_and_in_order_when_their_end_has_come() -> None:
    """The earliest come first, no more at a time than asked for, and none before its second."""
    schedule = ExpirySchedule()
    for uid, second in {"c": 12, "a": 10, "b": 11, "later": 13}.items():
        schedule.put(uid, second)
    assert {} == schedule.take(9.99, 5)
    assert {"a": 10, "b": 11} == schedule.take(12.5, 2)
    assert {"c": 12} == schedule.take(12.5, 2)
    assert ({}, 1) == (schedule.take(12.99, 2), len(schedule))


def test_nothing_is_due_when_the_end_was_moved_or_is_gone() -> None:
    """A renewed token's end stands alone, and of a client without an end nothing is left (I7)."""
    schedule = ExpirySchedule()
    schedule.put("renewed", 10)
    schedule.put("renewed", 20)
    schedule.put("gone", 10)
    schedule.discard("gone")
    schedule.discard("unknown")
    assert ({}, 1) == (schedule.take(19.0, 9), len(schedule))
    assert {"renewed": 20} == schedule.take(20.0, 9)
    assert 0 == len(schedule)


def test_newer_end_stays_when_an_older_one_is_put_back() -> None:
    """What failed is tried again, unless a later record has come meanwhile."""
    schedule = ExpirySchedule()
    schedule.put("a", 10)
    schedule.put("b", 10)
    taken = schedule.take(10.0, 9)
    schedule.put("b", 20)
    schedule.put_back(taken)
    assert {"a": 10} == schedule.take(10.0, 9)
    assert {"b": 20} == schedule.take(20.0, 9)
