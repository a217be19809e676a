"""What waits for a thread: requests that read and requests that change something, each kind in turn.

Reading is what costs an attacker nothing and the service most. So reads have a share of the threads, addresses take
turns, and the address that has most reads waiting loses some of them when places are needed. Reads whose clients have
closed are one more address: some clients close only their own direction, and wait for the answer.

Relies on these internals of waitress 3: the dispatcher appends to `queue`, and takes with `popleft`. It does so under
its own lock, in the thread that answers what it took. That thread looks whether the queue is empty before it takes.
"""

import threading
from collections import deque
from typing import Any

from waitress.task import ThreadedTaskDispatcher

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of the threads, the part that reads at most. Reads of long lists keep both Postgres and this process busy.
_READING_SHARE = 4
_MIN_READING = 2
_CLOSED = "closed by their clients"


class TurnQueue:
    """Channels whose first request waits, the oldest first of each kind and address.

    Shape: max_reading is how many threads read at once; a thousand reads delay a change by one of them at most.
    """

    def __init__(self, max_reading: int) -> None:
        self._max_reading = max_reading
        # Of each address, whose turn is next first.
        self._reads: dict[str, deque[Any]] = {}
        self._writes: deque[Any] = deque()
        self._is_read_next = False
        self._reading: set[int] = set()

    def __len__(self) -> int:
        return len(self._writes) + sum(map(len, self._reads.values()))

    def __bool__(self) -> bool:
        """Whether the calling thread has something to take; what it took before is answered."""
        self._reading.discard(threading.get_ident())
        return bool(self._writes) or self._may_read

    @property
    def _may_read(self) -> bool:
        return bool(self._reads) and len(self._reading) < self._max_reading

    def append(self, channel: Any) -> None:
        """Add a channel."""
        # What waitress refuses may have no method.
        is_read = getattr(channel.requests[0], "command", "") in _READS
        waiting = self._reads.setdefault(channel.addr[0], deque()) if is_read else self._writes
        waiting.append(channel)

    def popleft(self) -> Any:
        """Remove the next channel for the calling thread, and return it. Errors: IndexError when there is none."""
        is_read = self._may_read and (self._is_read_next or not self._writes)
        self._is_read_next = not is_read
        if not is_read:
            return self._writes.popleft()
        self._reading.add(threading.get_ident())
        address = self._next_address()
        waiting = self._reads.pop(address)
        channel = waiting.popleft()
        if waiting:
            self._reads[address] = waiting
        return channel

    def pop_excess(self, allowed: int) -> Any:
        """Remove a read and return it: one whose client has closed, or else the oldest of the busiest address.

        The oldest has most likely been given up. Who comes after many has a chance only so.

        Shape: None when no client has closed, and no address has more than `allowed`.
        """
        busiest = max(self._reads, key=lambda one: len(self._reads[one]), default=_CLOSED)
        address = _CLOSED if _CLOSED in self._reads else busiest
        waiting = self._reads.get(address, deque())
        if len(waiting) <= (0 if address == _CLOSED else allowed):
            return None
        channel = waiting.popleft()
        if not waiting:
            del self._reads[address]
        return channel

    def _next_address(self) -> str:
        """Return whose turn it is to read, once the reads before it whose clients have closed are put aside."""
        while (address := next(iter(self._reads))) != _CLOSED:
            waiting = self._reads[address]
            while waiting and waiting[0].has_client_closed:
                self._reads.setdefault(_CLOSED, deque()).append(waiting.popleft())
            if waiting:
                break
            del self._reads[address]
        return address


class Dispatcher(ThreadedTaskDispatcher):
    """So many threads that answer, and that take their requests from a TurnQueue."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.queue = TurnQueue(max(_MIN_READING, threads // _READING_SHARE))
        self.set_thread_count(threads)

    def pop_excess(self, allowed: int) -> Any:
        """Remove a read of an address that has more than `allowed`, and return its channel; None without one."""
        with self.lock:
            return self.queue.pop_excess(allowed)
