"""Work that is tried again and again: its failures are logged once, with their end, and the tries become rarer.

Not safe for threads; one loop owns each.
"""

import time
from typing import Any

from structlog.stdlib import BoundLogger


class Episode:
    """The failures in a row of one piece of work.

    Shape: logs `{name}_failed` with `fields` and a detail at the first, and `{name}_recovered` once it is over.
    """

    def __init__(self, log: BoundLogger, name: str, **fields: Any) -> None:
        self.failures = 0
        self._log = log
        self._name = name
        self._fields = fields
        self._began = 0.0

    def failed(self, detail: str) -> None:
        """Note a failure."""
        self.failures += 1
        if self.failures == 1:
            self._began = time.monotonic()
            self._log.warning(f"{self._name}_failed", **self._fields, detail=detail)

    def ended(self) -> None:
        """Note that the work was done."""
        if self.failures:
            seconds = round(time.monotonic() - self._began, 3)
            self._log.info(f"{self._name}_recovered", **self._fields, failures=self.failures, seconds=seconds)
            self.failures = 0

    def pause(self, shortest_seconds: float, longest_seconds: float) -> float:
        """Return how long to wait before the next try: twice as long after each failure."""
        return min(longest_seconds, shortest_seconds * 2.0 ** max(0, min(self.failures, 32) - 1))
