"""Which keys a bucket still has, for those who keep a copy of its records.

A purge removes records without a message, and so does a time to live. A delete marker may be missed and have ended
before it is read. Then nothing in the log leads to the record that is gone: only the list of the bucket's keys does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from roots.nats.reader import JetStreamReader

# A record that was purged counts for so long at most, in a bucket of up to about 10,000 keys.
INTERVAL_SECONDS = 2.0
# The list of 100,000 keys takes NATS 0.3 s, so larger buckets are asked for theirs less often.
MAX_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Present:
    """The subjects that a stream has. A message of another subject, up to the sequence `upto`, is gone."""

    subjects: set[str]
    upto: int

    def lacks(self, subject: str, seq: int) -> bool:
        """Return whether the message `seq` of `subject` is gone, and no later one was there in its place."""
        return seq <= self.upto and subject not in self.subjects


class PresenceCheck:
    """Asks which subjects of a stream match `pattern`, when the stream has changed since it was asked last.

    Shape: reader returns what reads the stream.

    Units: pause_seconds is how long to wait before the next call of `changed`.
    """

    def __init__(self, reader: Callable[[], JetStreamReader], pattern: str) -> None:
        self.pause_seconds = INTERVAL_SECONDS
        self._reader = reader
        self._pattern = pattern
        self._checked: tuple[int, int, int, int] | None = None

    async def changed(self) -> Present | None:
        """Return what is there, None when the stream is as it was. Errors: NatsUnavailableError."""
        state = await self._reader().state()
        extent = (state.epoch, state.first, state.last, state.messages)
        if extent == self._checked:
            return None
        began = time.monotonic()
        subjects = await self._reader().subjects(self._pattern) if state.messages else set()
        self.pause_seconds = max(INTERVAL_SECONDS, (time.monotonic() - began) / MAX_SHARE)
        self._checked = extent
        return Present(subjects, state.last)
