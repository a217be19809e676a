"""The hub: which polls wait on which path.

Registering and forgetting a poll costs one dictionary entry for each of its paths, whatever the number of polls held.
"""

from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

W = TypeVar("W")


class Hub(Generic[W]):
    """Waiters by path, each path's in the order they came."""

    def __init__(self) -> None:
        self._waiters: dict[str, dict[W, None]] = {}

    @property
    def path_count(self) -> int:
        """Paths that at least one poll waits on."""
        return len(self._waiters)

    def add(self, waiter: W, paths: Iterable[str]) -> None:
        """Let `waiter` wait on `paths`."""
        waiters = self._waiters
        for path in paths:
            try:
                waiters[path][waiter] = None
            except KeyError:
                waiters[path] = {waiter: None}

    def discard(self, waiter: W, paths: Iterable[str]) -> None:
        """Let `waiter` wait on `paths` no longer; what it does not wait on is passed over."""
        waiters = self._waiters
        for path in paths:
            found = waiters.get(path)
            if found is not None:
                found.pop(waiter, None)
                if not found:
                    del waiters[path]

    def take(self, path: str) -> Collection[W]:
        """Return all that wait on `path`, and let none of them wait on it any longer."""
        return self._waiters.pop(path, {})
