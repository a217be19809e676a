"""What became of the last writes to NATS: a stream whose disk is full still answers, and only its writes fail.

Safe to use from any thread. May import: roots.
"""

import time

from roots.contracts.subjects import EVENTS_STREAM, GRANTS_BUCKET, GRANTS_STREAM
from roots.http.health import Check

# A failed publish of an event counts for so long, unless one succeeds: no event can be written as a try, and a service
# that is not ready gets none.
EVENT_SECONDS = 10.0

STREAM_NAMES = {EVENTS_STREAM: f"the stream {EVENTS_STREAM}", GRANTS_STREAM: f"the bucket {GRANTS_BUCKET}"}


class WriteHealth:
    """The streams that did not take the last write."""

    def __init__(self) -> None:
        self._failed_at: dict[str, float] = {}

    def note(self, stream: str, *, is_stored: bool) -> None:
        """Note whether `stream` has acknowledged a write."""
        if is_stored:
            self._failed_at.pop(stream, None)
        else:
            self._failed_at[stream] = time.monotonic()

    @property
    def has_bucket_failed(self) -> bool:
        """Whether the bucket did not take the last write to it."""
        return GRANTS_STREAM in self._failed_at

    def check(self) -> Check:
        """Check that writes are taken."""
        now = time.monotonic()
        failed = [
            STREAM_NAMES[stream]
            for stream, failed_at in sorted(self._failed_at.copy().items())
            if stream == GRANTS_STREAM or now - failed_at < EVENT_SECONDS
        ]
        if not failed:
            return Check(is_ok=True, detail="NATS takes what is written")
        return Check(is_ok=False, detail=f"no write to {' and '.join(failed)} was acknowledged; trying again")
