"""The event stream as it was at the end, indexed by what an answer tells of an event: its path and its message."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from .history import Event, Path, Update


class Log:
    """All events, ascending by sequence."""

    def __init__(self, events: Iterable[Event], end: int) -> None:
        self.events: dict[int, Event] = {}
        self.end = end
        self._seqs_of: dict[Update, list[int]] = defaultdict(list)
        self._path_seqs: dict[Path, list[int]] = defaultdict(list)
        for event in events:
            self.events[event.seq] = event
            self._seqs_of[Update(event.path, event.message)].append(event.seq)
            self._path_seqs[event.path].append(event.seq)

    def between(self, path: Path, after: int, upto: int) -> Sequence[int]:
        """Return the sequences of the events on `path` after `after`, up to `upto`."""
        seqs = self._path_seqs.get(path, [])
        return seqs[bisect_right(seqs, after) : bisect_right(seqs, upto)]

    def seq_of(self, update: Update, after: int) -> int | None:
        """Return where the event that `update` tells of stands; of several the first after `after`; None if nowhere."""
        seqs = self._seqs_of.get(update)
        if not seqs:
            return None
        place = bisect_right(seqs, after)
        return seqs[place] if place < len(seqs) else seqs[-1]

    def copies(self) -> list[tuple[Update, list[int]]]:
        """Return the events that are stored more than once, with their sequences."""
        return [(update, seqs) for update, seqs in self._seqs_of.items() if len(seqs) > 1]
