"""What a uid was allowed to hear at each change of its grant record, put together from the records read.

A record tells of the past too: `since` of each path, and the change that withdrew each path that is gone. Hence records
that were written but never read (a connect that was tried twice) leave no hole.
"""

from dataclasses import dataclass

from .history import Path, Record


@dataclass(slots=True)
class Span:
    """One grant of a path: from change `since` on, up to change `until` (None: it still holds), heard after `start`."""

    path: Path
    start: int
    since: int
    until: int | None = None

    def holds_at(self, n: int) -> bool:
        """Tell whether the path was granted in the record's version `n`."""
        return self.since <= n and (self.until is None or n < self.until)


class Spans:
    """All grants of one uid."""

    def __init__(self, records: list[Record]) -> None:
        self._spans: dict[Path, dict[int, Span]] = {}
        for record in sorted(records, key=lambda record: record.n):
            self._take(record)

    def at(self, n: int) -> list[Span]:
        """Return the grants that hold in the record's version `n`."""
        return [span for spans in self._spans.values() for span in spans.values() if span.holds_at(n)]

    def open(self) -> list[Span]:
        """Return the grants that still hold at the end."""
        return [span for spans in self._spans.values() for span in spans.values() if span.until is None]

    def ended(self, path: Path, n: int) -> bool:
        """Tell whether the path was granted before version `n`, and is not granted in it."""
        spans = self._spans.get(path, {}).values()
        return any(span.until is not None and span.until <= n for span in spans) and not self._is_held(path, n)

    def withdrawn_between(self, told: int, n: int) -> set[Path]:
        """Return the paths that a client told up to `told` has to hear are withdrawn, in version `n`."""
        return {
            path
            for path, spans in self._spans.items()
            if any(span.until is not None and told < span.until <= n for span in spans.values())
            and not self._is_held(path, n)
        }

    def _is_held(self, path: Path, n: int) -> bool:
        return any(span.holds_at(n) for span in self._spans.get(path, {}).values())

    def _take(self, record: Record) -> None:
        for path, grant in record.paths.items():
            spans = self._spans.setdefault(path, {})
            spans.setdefault(grant.since, Span(path=path, start=grant.start, since=grant.since))
        for path, n in record.gone.items():
            for span in self._spans.get(path, {}).values():
                if span.since < n and span.until is None:
                    span.until = n
        for path, spans in self._spans.items():
            # A path that was withdrawn and granted again between two readings: the first grant ended before the second.
            newest = max(spans)
            for since, span in spans.items():
                if since < newest and span.until is None:
                    span.until = newest
            if path not in record.paths and spans[newest].until is None:
                spans[newest].until = record.n
