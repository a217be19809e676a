"""The polls that wait: by uid, by path, and those whose cursor is ahead of the log.

Registering and forgetting a poll costs one dictionary entry for each of its paths, whatever the number of polls held.
"""

from collections.abc import Collection, Iterable

from roots_longpoll.delivery.poll import Poll


class HeldPolls:
    """All polls of one replica that have no answer yet.

    Shape: by_path has the polls of each path in the order they came. polls_ahead_of_log has how often the head was
        compared with the stream's end since each of them came.
    """

    __slots__ = ("by_path", "by_uid", "polls_ahead_of_log")

    def __init__(self) -> None:
        self.by_uid: dict[bytes, Poll] = {}
        self.by_path: dict[str, dict[Poll, None]] = {}
        self.polls_ahead_of_log: dict[Poll, int] = {}

    def __len__(self) -> int:
        return len(self.by_uid)

    @property
    def polls(self) -> list[Poll]:
        """The polls that wait now."""
        return list(self.by_uid.values())

    def listen(self, poll: Poll, paths: Iterable[str]) -> None:
        """Let `poll` wait on `paths`."""
        by_path = self.by_path
        for path in paths:
            try:
                by_path[path][poll] = None
            except KeyError:
                by_path[path] = {poll: None}

    def ignore(self, poll: Poll, paths: Iterable[str]) -> None:
        """Let `poll` wait on `paths` no longer; what it does not wait on is passed over."""
        by_path = self.by_path
        for path in paths:
            found = by_path.get(path)
            if found is not None:
                found.pop(poll, None)
                if not found:
                    del by_path[path]

    def take(self, path: str) -> Collection[Poll]:
        """Return all that wait on `path`, and let none of them wait on it any longer."""
        return self.by_path.pop(path, {})

    def set_ahead(self, poll: Poll) -> None:
        """Let `poll` wait for the log instead of its paths."""
        if poll.client is not None:
            self.ignore(poll, poll.client.paths)
        self.polls_ahead_of_log[poll] = 0

    def remove(self, poll: Poll) -> None:
        """Forget `poll`."""
        if self.by_uid.get(poll.uid) is poll:
            del self.by_uid[poll.uid]
        if poll.client is not None:
            self.ignore(poll, poll.client.paths)
        if self.polls_ahead_of_log:
            self.polls_ahead_of_log.pop(poll, None)
