"""File descriptors: how many a process may have open, and some that are kept for when there are no others."""

import contextlib
import os
import resource
import threading
from typing import Final

SPARE: Final = 64
"""What a process has open beside its clients' connections: NATS, the database, listeners, files, the admin port."""
_MIN_CONNECTIONS = 8


def raise_limit() -> None:
    """Let this process open as many files as it may; the soft limit is often 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_within(wanted: int) -> int:
    """Return how many connections of `wanted` leave SPARE descriptors of this process's; half of a very low limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, max(limit - SPARE, limit // 2, _MIN_CONNECTIONS))


def is_one_free() -> bool:
    """Return whether this process can open one more file now."""
    try:
        expect_one_free()
    except OSError:
        return False
    return True


def expect_one_free() -> None:
    """Open a file and close it. Errors: OSError when this process can't open one more now."""
    os.close(_open_one())


class Reserve:
    """Descriptors that are open from the start, so that closing one leaves room below any limit. Thread-safe.

    Shape: size is how many are open unless they are in use.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._kept: list[int] = []
        self.refill()

    def release(self) -> bool:
        """Close one of them, so that the next file can be opened; return whether there was one."""
        with self._lock:
            if not self._kept:
                return False
            os.close(self._kept.pop())
            return True

    @property
    def is_full(self) -> bool:
        """Whether none has been released that was not opened again."""
        return len(self._kept) == self.size

    def refill(self) -> None:
        """Open again what was released, as far as the limit allows."""
        with self._lock, contextlib.suppress(OSError):
            while len(self._kept) < self.size:
                self._kept.append(_open_one())

    def close(self) -> None:
        """Close all of them."""
        self.size = 0
        while self.release():
            pass


def _open_one() -> int:
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
