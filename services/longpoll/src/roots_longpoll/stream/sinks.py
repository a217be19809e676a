"""The sinks of the two streams: events go to the dispatcher, grant records to the view and on to the dispatcher."""

import time
from collections.abc import Callable, Collection
from datetime import datetime

from roots.contracts.events import MAX_MESSAGE_BYTES, TIME_HEADER, TRACEPARENT_HEADER
from roots.contracts.grant_records import UnreadableRecordError
from roots.contracts.subjects import GRANTS_PREFIX, InvalidPathError, path_of
from roots.nats.log_epoch import LOG_SUBJECT
from roots.nats.stored import Stored
from roots_longpoll.delivery.dispatcher import PollDispatcher
from roots_longpoll.delivery.grants import GrantsView, MaybeClient
from roots_longpoll.delivery.ring import Event
from roots_longpoll.delivery.stats import Unreadable

_STORED_HEADER = "Nats-Time-Stamp"
# A key-value store's mark of a record that was deleted or purged.
_OPERATION_HEADER = "KV-Operation"
EVENT_HEADERS = (TIME_HEADER, _STORED_HEADER)
TRACED_EVENT_HEADERS = (*EVENT_HEADERS, TRACEPARENT_HEADER)
GRANT_HEADERS = (_OPERATION_HEADER, _STORED_HEADER)

_MAX_TIME_DIGITS = 19
_TRACEPARENT_CHARACTERS = 55
_SECOND_CHARACTERS = 19
_FRACTION_DIGITS = 9


def event_of(message: Stored, unreadable: Unreadable) -> Event | None:
    """Return the event that `message` is, None when it is none; what can't be read of it is noted in `unreadable`.

    A message that lacks a time or a trace, or has an unreadable one, is an event nonetheless.
    """
    try:
        path = path_of(message.subject)
    except InvalidPathError:
        unreadable.note("event_subject", message.seq)
        return None
    if len(message.data) > MAX_MESSAGE_BYTES:
        unreadable.note("event_message", message.seq)
        return None
    headers = message.headers
    committed = headers.get(TIME_HEADER)
    if committed is not None and len(committed) <= _MAX_TIME_DIGITS and committed.isdecimal():
        committed_ns = int(committed)
    else:
        committed_ns = time.time_ns()
        if committed is not None:
            unreadable.note("event_time", message.seq)
    traceparent = headers.get(TRACEPARENT_HEADER)
    if traceparent is not None and len(traceparent) != _TRACEPARENT_CHARACTERS:
        traceparent = None
        unreadable.note("event_traceparent", message.seq)
    return Event(seq=message.seq, path=path, message=message.data, committed_ns=committed_ns, traceparent=traceparent)


class BrokerClock:
    """Reads the times at which NATS stored messages, like 2009-11-10T23:00:00.25Z: up to nine digits of a fraction.

    One is read for every event, so the date, which stays the same for a second, is worked out once.
    """

    def __init__(self) -> None:
        self._second = ""
        self._second_ns = 0

    def read(self, text: str) -> int:
        """Return `text` as nanoseconds since 1970, 0 when it is no such time."""
        second, fraction = text[:_SECOND_CHARACTERS], text[_SECOND_CHARACTERS + 1 : -1]
        try:
            if second != self._second:
                self._second_ns = int(datetime.fromisoformat(f"{second}+00:00").timestamp()) * 10**_FRACTION_DIGITS
                self._second = second
            return self._second_ns + int(fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
        except ValueError:
            return 0


class EventSink:
    """Feeds the dispatcher with events. Shape: on_event is called with each of them first."""

    def __init__(self, dispatcher: PollDispatcher, on_event: Callable[[Event], None] | None = None) -> None:
        self._dispatcher = dispatcher
        self._clock = BrokerClock()
        self._on_event = on_event
        self._unreadable = dispatcher.stats.unreadable

    def begin(self, epoch: int, after: int, messages: list[Stored], head: int, epoch_start: int) -> None:
        """Start the dispatcher with the stream of `epoch`."""
        events = []
        taken_ns = time.time_ns()
        for message in messages:
            event = event_of(message, self._unreadable)
            if event is not None:
                event.taken_ns = taken_ns
                events.append(event)
        self._dispatcher.begin(epoch, after, events, head, epoch_start)

    def receive(self, message: Stored) -> None:
        """Deliver one event; a message that is none is passed over."""
        event = event_of(message, self._unreadable)
        if event is None:
            self._dispatcher.skip_to(message.seq)
        else:
            event.taken_ns = time.time_ns()
            stored_ns = self._clock.read(message.headers.get(_STORED_HEADER, ""))
            self._dispatcher.stats.count_arrival(event.committed_ns, stored_ns, event.taken_ns)
            if self._on_event is not None:
                self._on_event(event)
            self._dispatcher.deliver(event)

    def skip_to(self, seq: int) -> None:
        """Move the dispatcher's head on."""
        self._dispatcher.skip_to(seq)

    def verified(self) -> None:
        """Report that the dispatcher's head is the stream's end."""
        self._dispatcher.head_checked()


class GrantSink:
    """Feeds the view and the dispatcher with grant records. Shape: on_epoch is called when the log may be another."""

    def __init__(self, view: GrantsView, dispatcher: PollDispatcher, on_epoch: Callable[[], None]) -> None:
        self._view = view
        self._dispatcher = dispatcher
        self._on_epoch = on_epoch

    def begin(self, _epoch: int, _after: int, _messages: list[Stored], _head: int, _epoch_start: int) -> None:
        """Forget all records: what was known may have changed unseen."""
        self._view.clear()
        self._dispatcher.forget_grants()

    def forget(self, uids: Collection[bytes]) -> None:
        """Ask the store for the records of `uids`, which seem to be gone from it."""
        self._view.forget(uids)
        self._dispatcher.forget_grants(uids)

    def receive(self, message: Stored) -> None:
        """Take in one record, and wake the poll of its uid."""
        if message.subject == LOG_SUBJECT:
            self._on_epoch()
            return
        client = apply_record(self._view, message, self._dispatcher.stats.unreadable)
        self._dispatcher.grants_known(uid_of(message), client)

    def skip_to(self, seq: int) -> None:
        """Pass over records that were replaced meanwhile; only the last of each uid counts."""

    def verified(self) -> None:
        """Nothing waits for the end of the grants."""


def uid_of(message: Stored) -> bytes:
    """Return the uid whose record `message` is."""
    return message.subject.removeprefix(GRANTS_PREFIX).encode()


def apply_record(view: GrantsView, message: Stored, unreadable: Unreadable) -> MaybeClient:
    """Take `message` into the view; return the latest that is known of its uid.

    One that can't be read counts as none: to keep the record before it would let a withdrawn grant live on (I5).
    """
    uid = uid_of(message)
    raw = b"" if _OPERATION_HEADER in message.headers else message.data
    try:
        return view.apply(uid, raw, message.seq)
    except UnreadableRecordError:
        unreadable.note("grant_record", message.seq)
        return view.apply(uid, b"", message.seq)
