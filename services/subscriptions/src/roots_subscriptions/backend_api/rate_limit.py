"""How much each back end may do at the back-end API: a token bucket for each, in the memory of this process.

Replicas of subscriptions don't share their buckets, so each lets the whole rate through.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from roots.auth.backends import Backend


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimits:
    """The buckets by the back ends' names; a bucket is full at first. Safe to use from any thread."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}

    def take(self, backend: Backend, tokens: int) -> float:
        """Take `tokens` from the bucket of `backend`, and return 0.0.

        When it holds fewer, take none, and return after how many seconds it will hold them.
        """
        with self._lock:
            now = self._now()
            bucket = self._buckets.setdefault(backend.name, _Bucket(tokens=backend.burst, filled_at=now))
            bucket.tokens = min(backend.burst, bucket.tokens + (now - bucket.filled_at) * backend.rate)
            bucket.filled_at = now
            if bucket.tokens >= tokens:
                bucket.tokens -= tokens
                return 0.0
            return (tokens - bucket.tokens) / backend.rate
