"""What all clients and writers of a run count and remark on."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Notes:
    """Shape: counts by what happened; unexpected has answers that the protocol does not know."""

    counts: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)

    def count(self, what: str) -> None:
        """Count one more of `what`."""
        self.counts[what] += 1
