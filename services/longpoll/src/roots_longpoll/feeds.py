"""What the followed streams feed: events go to the desk, grant records to the view and on to the desk."""

import time
from collections.abc import Callable, Collection

import msgspec

from roots_common import logs
from roots_common.events import TIME_HEADER, TRACEPARENT_HEADER
from roots_common.stored import Stored
from roots_common.subjects import GRANTS_PREFIX, InvalidPathError, path_of
from roots_longpoll.broker_clock import STORED_HEADER, BrokerClock
from roots_longpoll.desk import Desk
from roots_longpoll.grants import GrantsView, Known
from roots_longpoll.ring import Event

# A key-value store's mark of a record that was deleted or purged.
_OPERATION_HEADER = "KV-Operation"
EVENT_HEADERS = (TIME_HEADER, STORED_HEADER)
TRACED_EVENT_HEADERS = (*EVENT_HEADERS, TRACEPARENT_HEADER)
GRANT_HEADERS = (_OPERATION_HEADER,)

log = logs.get(__name__)


def event_of(message: Stored) -> Event:
    """Return the event that `message` is. Errors: InvalidPathError when its subject carries no path."""
    committed_ns = message.headers.get(TIME_HEADER, "")
    return Event(
        seq=message.seq,
        path=path_of(message.subject),
        message=message.data,
        committed_ns=int(committed_ns) if committed_ns.isdecimal() else time.time_ns(),
        traceparent=message.headers.get(TRACEPARENT_HEADER),
    )


class EventFeed:
    """Feeds the desk with events. Shape: on_event hears of each before the desk does."""

    def __init__(self, desk: Desk, on_event: Callable[[Event], None] | None = None) -> None:
        self._desk = desk
        self._clock = BrokerClock()
        self._on_event = on_event

    def begin(self, epoch: int, after: int, messages: list[Stored], head: int) -> None:
        """Let the desk begin with the stream of `epoch`."""
        events = []
        taken_ns = time.time_ns()
        for message in messages:
            try:
                event = event_of(message)
                event.taken_ns = taken_ns
                events.append(event)
            except InvalidPathError:
                log.warning("event_without_path", seq=message.seq)
        self._desk.begin(epoch, after, events, head)

    def receive(self, message: Stored) -> None:
        """Deliver one event; a message that is none is passed over, since nobody can hear it."""
        try:
            event = event_of(message)
        except InvalidPathError:
            log.warning("event_without_path", seq=message.seq)
            self._desk.skip_to(message.seq)
        else:
            event.taken_ns = time.time_ns()
            stored_ns = self._clock.read(message.headers.get(STORED_HEADER, ""))
            self._desk.stats.count_arrival(event.committed_ns, stored_ns, event.taken_ns)
            if self._on_event is not None:
                self._on_event(event)
            self._desk.deliver(event)

    def skip_to(self, seq: int) -> None:
        """Move the desk's head on."""
        self._desk.skip_to(seq)

    def verified(self) -> None:
        """Tell the desk that its head is the stream's end."""
        self._desk.head_checked()


class GrantFeed:
    """Feeds the view and the desk with grant records."""

    def __init__(self, view: GrantsView, desk: Desk) -> None:
        self._view = view
        self._desk = desk

    def begin(self, _epoch: int, _after: int, _messages: list[Stored], _head: int) -> None:
        """Forget all records: what was known may have changed unseen."""
        self._view.clear()
        self._desk.forget_grants()

    def forget(self, uids: Collection[bytes]) -> None:
        """Ask the store for the records of `uids`, which seem to be gone from it."""
        self._view.forget(uids)
        self._desk.forget_grants(uids)

    def receive(self, message: Stored) -> None:
        """Take in one record, and wake the poll of its uid."""
        try:
            client = apply_record(self._view, message)
        except msgspec.DecodeError:
            log.exception("grant_record_unreadable", revision=message.seq)
        else:
            self._desk.grants_known(uid_of(message), client)

    def skip_to(self, seq: int) -> None:
        """Pass over records that were replaced meanwhile; only the last of each uid counts."""

    def verified(self) -> None:
        """Nothing waits for the end of the grants."""


def uid_of(message: Stored) -> bytes:
    """Return the uid whose record `message` is."""
    return message.subject.removeprefix(GRANTS_PREFIX).encode()


def apply_record(view: GrantsView, message: Stored) -> Known:
    """Take `message` into the view; return the latest that is known of its uid. Errors: msgspec.DecodeError."""
    raw = b"" if _OPERATION_HEADER in message.headers else message.data
    return view.apply(uid_of(message), raw, message.seq)
