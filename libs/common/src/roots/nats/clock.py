"""Whether this machine's clock agrees with NATS's: uids, grants and tokens have times that others read."""

from typing import Final

from roots.http.health import Check
from roots.runtime import logs

MAX_SKEW_SECONDS: Final = 5.0
"""Beyond this a process is unready: grants would end too early or too late, and from 60 s on its uids are refused."""

log = logs.get(__name__)


class ClockCheck:
    """What was found of the clock last; it holds until the next comparison.

    Units: skew_seconds is how far this clock is ahead of the broker's, at least; below 0 it is behind.
    """

    def __init__(self) -> None:
        self.skew_seconds = 0.0

    def note(self, skew_seconds: float) -> None:
        """Take in a comparison."""
        was_right, self.skew_seconds = self._is_right, skew_seconds
        if was_right and not self._is_right:
            log.warning("clock_skewed", skew_seconds=round(skew_seconds, 1), detail=self.check().detail)
        elif self._is_right and not was_right:
            log.info("clock_agrees", skew_seconds=round(skew_seconds, 1))

    def check(self) -> Check:
        """Return the readiness check."""
        if self._is_right:
            return Check(is_ok=True, detail=f"agrees with the clock of NATS within {MAX_SKEW_SECONDS:.0f} s")
        side = "ahead of" if self.skew_seconds > 0 else "behind"
        return Check(is_ok=False, detail=f"this clock is {abs(self.skew_seconds):.1f} s {side} the clock of NATS")

    @property
    def _is_right(self) -> bool:
        return abs(self.skew_seconds) <= MAX_SKEW_SECONDS
