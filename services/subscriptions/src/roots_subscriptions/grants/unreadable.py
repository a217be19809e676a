"""Grant records that can't be read: each is counted once and logged once, by its sequence in the bucket."""

from roots.runtime import logs
from roots_subscriptions.metrics import Metrics

# So many of the latest are known again.
MAX_KNOWN = 4096

log = logs.get(__name__)


class Unreadable:
    """Notes unreadable records. One event loop owns it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[int, None] = {}

    def note(self, seq: int) -> None:
        """Count and log the message `seq` of the bucket, unless that was done before."""
        if seq in self._known:
            return
        self._known[seq] = None
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._metrics.unreadable_records.inc()
        log.warning("record_unreadable", revision=seq)
