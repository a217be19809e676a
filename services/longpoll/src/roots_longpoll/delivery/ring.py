"""The ring: the recent events of the stream, in memory, bounded by bytes, read by path.

It covers the sequences after `tail` up to `head`, without a hole: an event that this replica saw is either in the ring
or at or below `tail`, where only the stream itself has it. Losing the ring loses nothing; a replay reads the stream.
"""

import operator
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from roots_longpoll.delivery.cursor import base36

# What an event costs beside its encoded update: its object, two list entries, a deque entry. Measured with tracemalloc.
EVENT_OVERHEAD_BYTES = 368
_COMPACT_AFTER = 256

_encode = msgspec.json.Encoder().encode
_sequence = operator.attrgetter("seq")


class Event:
    """One event, its update encoded once for all clients.

    Units: nanoseconds since 1970. committed_ns is 0 when unknown; taken_ns is when this replica took the event in, and
        0 for one that was read from the stream for a client that came late.
    Shape: traceparent is the trace of its publish; None too when traces are off.
    """

    __slots__ = ("committed_ns", "path", "seq", "taken_ns", "traceparent", "update")

    def __init__(
        self,
        *,
        seq: int,
        path: str,
        message: bytes,
        committed_ns: int,
        taken_ns: int = 0,
        traceparent: str | None = None,
    ) -> None:
        self.seq = seq
        self.path = path
        self.update = update_of(path, message)
        self.committed_ns = committed_ns
        self.taken_ns = taken_ns
        self.traceparent = traceparent

    def age_seconds(self, now_ns: int) -> float:
        """Return how long ago it was committed; never less than 0, though the commit's clock may be ahead of ours."""
        return max(0, now_ns - self.committed_ns) / 1e9

    @property
    def cost_bytes(self) -> int:
        """What the event takes of the ring."""
        return len(self.update) + EVENT_OVERHEAD_BYTES


def update_of(path: str, message: bytes) -> bytes:
    """Return the JSON object of one update. Bytes that are not UTF-8 are replaced, as JSON can't carry them."""
    return b'{"path":%b,"message":%b}' % (_encode(path), _encode(message.decode("utf-8", "replace")))


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events for one client, ascending by sequence; everything up to `seq` has been considered."""

    events: list[Event]
    seq: int


class Ring:
    """Recent events, at most `max_bytes` of them. Not safe for threads; one event loop owns it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.epoch = 0
        self.epoch_start = 0
        self.epoch_text = b"0"
        self.head = 0
        self.tail = 0
        self.evicted_total = 0
        self._order: deque[Event] = deque()
        self._logs: dict[str, _PathLog] = {}

    def __len__(self) -> int:
        return len(self._order)

    @property
    def oldest_committed_ns(self) -> int:
        """When the oldest event was committed, nanoseconds since 1970; 0 without events. Any thread may read it."""
        try:
            return self._order[0].committed_ns
        except IndexError:
            return 0

    def reset(self, epoch: int, seq: int, epoch_start: int = 0) -> None:
        """Forget everything; the next event is one of `epoch` (see `cursor`) and comes after `seq`.

        Shape: what the log has up to epoch_start was there before `epoch` began.
        """
        self.epoch = epoch
        self.epoch_start = epoch_start
        self.epoch_text = base36(epoch)
        self._order.clear()
        self._logs.clear()
        self.bytes = 0
        self.head = self.tail = seq

    def append(self, event: Event) -> None:
        """Add the newest event; over the bound the oldest ones go."""
        self.head = event.seq
        self._order.append(event)
        log = self._logs.get(event.path)
        if log is None:
            log = self._logs[event.path] = _PathLog()
        log.append(event)
        self.bytes += event.cost_bytes
        while self.bytes > self.max_bytes and self._order:
            self._evict()

    def skip_to(self, seq: int) -> None:
        """Note that no event exists between the head and `seq`, inclusive."""
        self.head = max(self.head, seq)

    def collect(self, starts: Iterable[tuple[str, int]], max_events: int, max_bytes: int) -> Backlog:
        """Return the oldest events after the starts, at most `max_events` of them and `max_bytes` (but always one).

        Shape: starts is (path, sequence after which the path is wanted); no start may lie below `tail`.
        """
        events: list[Event] = []
        path_count = 0
        for path, after in starts:
            log = self._logs.get(path)
            if log is not None:
                found = log.since(after, max_events + 1)
                path_count += bool(found)
                events += found
        if path_count > 1:
            events.sort(key=_sequence)
        return cut(events, self.head, max_events, max_bytes)

    def _evict(self) -> None:
        event = self._order.popleft()
        self.bytes -= event.cost_bytes
        self.tail = event.seq
        self.evicted_total += 1
        log = self._logs[event.path]
        log.drop_first()
        if not log:
            del self._logs[event.path]


def cut(events: list[Event], complete_to: int, max_events: int, max_bytes: int) -> Backlog:
    """Return the first of `events` that fit one answer (but always one, if `max_events` allows any).

    Shape: events are all there are up to `complete_to`, ascending.
    """
    size = 0
    for count, event in enumerate(events):
        size += len(event.update) + 1
        if count == max_events or (size > max_bytes and count):
            return Backlog(events[:count], event.seq - 1)
    return Backlog(events, complete_to)


class _PathLog:
    """The events of one path: two parallel lists, so that a position is found by bisection in plain integers."""

    __slots__ = ("_events", "_first", "_seqs")

    def __init__(self) -> None:
        self._events: list[Event | None] = []
        self._seqs: list[int] = []
        self._first = 0

    def __bool__(self) -> bool:
        return self._first < len(self._seqs)

    def append(self, event: Event) -> None:
        self._events.append(event)
        self._seqs.append(event.seq)

    def since(self, after: int, limit: int) -> list[Event]:
        seqs = self._seqs
        if not seqs or seqs[-1] <= after:
            return []
        # A client is mostly one event behind, so the end is looked at before the list is searched.
        if len(seqs) - self._first == 1 or seqs[-2] <= after:
            start = len(seqs) - 1
        else:
            start = bisect_right(seqs, after, self._first)
        return self._events[start : start + limit]  # type: ignore[return-value]  # only places before _first are None

    def drop_first(self) -> None:
        self._events[self._first] = None
        self._first += 1
        if self._first >= _COMPACT_AFTER and self._first * 2 >= len(self._seqs):
            del self._events[: self._first]
            del self._seqs[: self._first]
            self._first = 0
