"""What waits for a thread: requests that read and requests that change something, each kind in turn.

Relies on these internals of waitress 3: the dispatcher appends to `queue`, takes with `popleft`, asks for its length,
and does so under its own lock.
"""

from collections import deque
from typing import Any

from waitress.task import ThreadedTaskDispatcher

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class TurnQueue:
    """Channels whose first request waits, oldest first of each kind; a thousand reads delay a write by one of them."""

    def __init__(self) -> None:
        self._reads: deque[Any] = deque()
        self._writes: deque[Any] = deque()
        self._is_read_next = False

    def __len__(self) -> int:
        return len(self._reads) + len(self._writes)

    def append(self, channel: Any) -> None:
        """Add a channel."""
        # What waitress refuses may have no method.
        is_read = getattr(channel.requests[0], "command", "") in _READS
        (self._reads if is_read else self._writes).append(channel)

    def popleft(self) -> Any:
        """Remove the next channel, and return it. Errors: IndexError when there is none."""
        is_read = bool(self._reads) and (self._is_read_next or not self._writes)
        self._is_read_next = not is_read
        return (self._reads if is_read else self._writes).popleft()


def create_dispatcher(threads: int) -> ThreadedTaskDispatcher:
    """Return so many threads that answer, and that take their requests from a TurnQueue."""
    dispatcher = ThreadedTaskDispatcher()
    dispatcher.queue = TurnQueue()
    dispatcher.set_thread_count(threads)
    return dispatcher
