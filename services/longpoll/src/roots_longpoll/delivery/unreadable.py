"""What of NATS could not be read: counted always, logged once for each kind, or a flood of it would fill the log.

One event loop owns it; any thread may read the counts.
"""

from typing import Final, Literal

from roots.runtime import logs

Kind = Literal["event_subject", "event_message", "event_time", "event_traceparent", "grant_record"]
KINDS: Final[tuple[Kind, ...]] = (
    "event_subject",
    "event_message",
    "event_time",
    "event_traceparent",
    "grant_record",
)

log = logs.get(__name__)


class Unreadable:
    """Counts by kind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(KINDS, 0)

    def note(self, kind: Kind, seq: int) -> None:
        """Count what the message `seq` of its stream has of `kind`."""
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            log.warning("unreadable", kind=kind, seq=seq)
