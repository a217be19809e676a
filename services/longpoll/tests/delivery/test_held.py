"""The held polls: which of them wait on which path."""

import pytest

from roots_longpoll.delivery.held import HeldPolls
from roots_longpoll.delivery.poll import Poll

from ..dispatcher_support import EPOCH, FakeReply


@pytest.fixture
def held() -> HeldPolls:
    """Return no polls."""
    return HeldPolls()


def poll(uid: bytes = b"") -> Poll:
    """Return a poll."""
    return Poll(FakeReply(), uid, EPOCH, 0, 0, 0.0, 0.0)


def test_take_returns_all_once_when_they_wait_on_a_path(held: HeldPolls) -> None:
    """Polls come in the order in which they registered, and wait on that path no longer."""
    first, second = poll(), poll()
    held.listen(first, ["a", "b"])
    held.listen(second, ["a"])
    assert ([first, second], [], [first]) == (list(held.take("a")), list(held.take("a")), list(held.take("b")))


def test_listen_keeps_one_entry_when_repeated(held: HeldPolls) -> None:
    """A poll is woken once however often it registers."""
    one = poll()
    held.listen(one, ["a"])
    held.listen(one, ["a"])
    assert [one] == list(held.take("a"))


def test_ignore_forgets_the_path_when_nobody_is_left(held: HeldPolls) -> None:
    """I7: paths that no poll waits on cost nothing."""
    first, second = poll(), poll()
    held.listen(first, ["a", "b"])
    held.listen(second, ["b"])
    held.ignore(first, ["a", "b", "never"])
    assert (1, [second]) == (len(held.by_path), list(held.take("b")))


def test_remove_leaves_the_newer_poll_when_it_has_the_same_uid(held: HeldPolls) -> None:
    """A poll that was superseded takes nothing of its successor with it."""
    older, newer = poll(b"uid"), poll(b"uid")
    held.by_uid[b"uid"] = newer
    held.remove(older)
    assert [newer] == held.polls
