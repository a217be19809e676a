"""The hub: who waits on which path."""

from roots_longpoll.delivery.hub import Hub


def test_take_returns_all_once_when_they_wait_on_a_path() -> None:
    """Waiters come in the order in which they registered, and wait on that path no longer."""
    hub: Hub[int] = Hub()
    hub.add(2, ["a", "b"])
    hub.add(1, ["a"])
    assert ([2, 1], [], [2]) == (list(hub.take("a")), list(hub.take("a")), list(hub.take("b")))


def test_add_keeps_one_entry_when_repeated() -> None:
    """A waiter is woken once however often it registers."""
    hub: Hub[int] = Hub()
    hub.add(1, ["a"])
    hub.add(1, ["a"])
    assert [1] == list(hub.take("a"))


def test_discard_forgets_the_path_when_nobody_is_left() -> None:
    """Paths that nobody hears cost nothing (I7)."""
    hub: Hub[int] = Hub()
    hub.add(1, ["a", "b"])
    hub.add(2, ["b"])
    hub.discard(1, ["a", "b", "never"])
    assert (1, [2]) == (hub.path_count, list(hub.take("b")))
