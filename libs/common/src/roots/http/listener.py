"""waitress's server as Roots runs it: new connections always find a place, and memory and time are bounded.

When all places are taken, the connections that have gone longest without a whole request are ended; so idle ones, half
requests and unread answers cost their senders only. Next are reads that wait for a thread: 503 for the address that has
most of them. A connection whose request changes something, or is on a thread, is never ended.

Relies on these internals of waitress 3: the loop calls `readable` of every channel, then polls, then handles what is
ready, so that `readable` of the listener is where all channels can be looked at; `maintenance` is called from there;
`active_channels` has every connection.
"""

import errno
import heapq
import socket
import time
from typing import Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from roots.http.channel import Channel
from roots.http.queue import Dispatcher
from roots.http.request import MAX_HEADER_BYTES, MAX_RECEIVED_BYTES
from roots.runtime import descriptors, logs

# Above the keep-alive of the proxies in front, so that they close an idle connection first.
IDLE_SECONDS = 75
# Header and body together. waitress's own timeout restarts with each byte.
ARRIVAL_SECONDS = 30.0
# An answer of 1 MiB needs 9 KB/s.
UNREAD_SECONDS = 120.0
# So long a connection on which nothing has come is worth more than an answer that its client does not read.
FRESH_SECONDS = 0.25
# While memory is short a request has so long to arrive.
_PRESSED_ARRIVAL_SECONDS = 2.0
# Less than this is not worth ending a connection for.
_SMALL_BYTES = 16 << 10
_LOOK_SECONDS = 1
_MEMORY_LOOK_SECONDS = 0.01
# Without a free descriptor the listener pauses for so long; new connections wait in the kernel's queue.
_NO_DESCRIPTOR_SECONDS = 0.1
_NO_DESCRIPTOR = frozenset((errno.EMFILE, errno.ENFILE))
_ACCEPTS_AT_ONCE = 32
# Of all places, what is made free at once, so that it is not looked for at every connection.
_SHARE_ENDED = 0.02
_QUIET_SECONDS = 10.0

log = logs.get(__name__)


class Listener(TcpWSGIServer):
    """Accepts and bounds the connections of one port.

    Shape: max_connections are places, max_body_bytes is what is kept of one body, max_held_bytes of all requests and
        unread answers together, about. full_since is since when no connection is accepted, None with room.
    Units: full_since is monotonic seconds.
    """

    channel_class = Channel

    def __init__(
        self,
        app: Any,
        *,
        host: str,
        port: int,
        threads: int,
        max_connections: int,
        max_body_bytes: int,
        max_held_bytes: int,
        reserve: descriptors.Reserve,
    ) -> None:
        adjustments = Adjustments(
            host=host,
            port=port,
            # Its own bound stops accepting, whatever the connections do.
            connection_limit=1 << 30,
            asyncore_use_poll=True,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=_LOOK_SECONDS,
            max_request_body_size=MAX_RECEIVED_BYTES,
            max_request_header_size=MAX_HEADER_BYTES,
            # Nothing goes to a temporary file: memory has its own bound, and there may be no disk.
            outbuf_overflow=1 << 30,
            outbuf_high_watermark=1 << 30,
            ident=None,
            expose_tracebacks=False,
        )
        if len(adjustments.listen) > 1:
            raise OSError(f"{host} names more than one address; give one")
        adjustments.kept_body_bytes = max_body_bytes
        self.is_draining = False
        self.is_short_of_memory = False
        self.is_short_of_descriptors = False
        self.full_since: float | None = None
        self._max_connections = descriptors.connections_within(max_connections)
        self._max_held_bytes = max_held_bytes
        self._reserve = reserve
        self._paused_until = 0.0
        self._lacks_descriptors = False
        self._places = 0
        self._memory_looked_at = 0.0
        self._pressed_at = -_QUIET_SECONDS
        super().__init__(app, adj=adjustments, dispatcher=Dispatcher(threads))

    def bind(self, addr: tuple[str, int]) -> None:
        """Take the address. Errors: OSError that names it, for the operator."""
        try:
            super().bind(addr)
        except OSError as error:
            self.close()
            raise OSError(error.errno, f"can't listen on {addr[0]} port {addr[1]}: {error.strerror}") from None

    def readable(self) -> bool:
        """Return whether to accept; the loop asks at each of its turns, so that the bounds are kept here."""
        is_readable: bool = super().readable()
        now = time.monotonic()
        if not self._reserve.is_full:
            self._reserve.refill()
        self._bound_memory(now)
        self._places = self._max_connections - len(self.active_channels)
        if self._places <= 0:
            self._places = self._make_room()
        self.full_since = None if self._places > 0 else self.full_since or now
        return is_readable and self._places > 0 and now >= self._paused_until

    def handle_accept(self) -> None:
        """Accept who waits, as far as there are places."""
        for _ in range(max(1, min(self._places, _ACCEPTS_AT_ONCE))):
            try:
                connection, address = self._accept_one()
            except BlockingIOError:
                return
            except OSError as error:
                # The other errors are of a client that has gone meanwhile.
                if error.errno in _NO_DESCRIPTOR:
                    self._paused_until = time.monotonic() + (0.0 if self._make_room() else _NO_DESCRIPTOR_SECONDS)
                return
            self.is_short_of_descriptors = not self._reserve.is_full
            if self._lacks_descriptors and not self.is_short_of_descriptors and descriptors.is_one_free():
                self._lacks_descriptors = False
                log.info("descriptors_free", port=int(self.effective_port))
            try:
                self.set_socket_options(connection)
            except OSError:
                connection.close()
                continue
            self.channel_class(self, connection, self.fix_addr(address), self.adj, map=self._map)

    def maintenance(self, now: float) -> None:
        """End the connections whose request takes too long to arrive or whose answer to be read, and idle ones."""
        moment = time.monotonic()
        for channel in self.active_channels.values():
            arriving, unread = channel.arriving_since, channel.unread_since
            is_late = arriving is not None and arriving < moment - ARRIVAL_SECONDS
            is_unread = unread is not None and unread < moment - UNREAD_SECONDS and not channel.is_at_work
            if is_late or is_unread or (channel.is_idle and channel.rested_at < moment - IDLE_SECONDS):
                channel.end()
        super().maintenance(now)

    def _accept_one(self) -> tuple[socket.socket, Any]:
        """Return the next connection, on a descriptor of the reserve when there is no other. Errors: OSError."""
        while True:
            try:
                if not self._reserve.size:
                    # A descriptor that is free for a moment may be of another listener's reserve.
                    descriptors.expect_one_free()
                connection, address = self.socket.accept()
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    raise
                if not self._lacks_descriptors:
                    self._lacks_descriptors = True
                    log.warning("descriptors_used_up", port=int(self.effective_port))
                if not self._reserve.release():
                    raise
            else:
                return connection, address

    def _make_room(self) -> int:
        """End those that have gone longest without a whole request, then unread answers; return how many.

        A client has a moment to send what it has connected for: without that it is ended only when nothing else can be.
        Reads that wait for a thread are refused last; where one address has half of the places with them, they are
        refused before a connection is ended that has only begun.
        """
        now = time.monotonic()
        quiet_since = now - _PRESSED_ARRIVAL_SECONDS
        channels = [one for one in self.active_channels.values() if not (one.is_at_work or one.will_close)]
        ended = 0
        has_unread = False
        wanted = max(1, int(self._max_connections * _SHARE_ENDED))

        def is_fresh(channel: Channel) -> bool:
            return channel.is_idle and channel.rested_at > now - FRESH_SECONDS

        def turn(channel: Channel) -> tuple[bool, bool, float]:
            return is_fresh(channel), channel.total_outbufs_len > 0, channel.rested_at

        for channel in heapq.nsmallest(wanted, channels, key=turn):
            if ended and is_fresh(channel):
                break
            # One whose bytes have come meanwhile is read in this very turn.
            if channel.is_idle and channel.has_received_more:
                has_unread = True
                continue
            is_new = channel.rested_at > quiet_since
            reading = self.task_dispatcher.pop_excess(self._max_connections // 2) if is_new else None
            if reading is None:
                channel.end()
            else:
                reading.refuse()
            ended += 1
        # What is read in this turn may be of the busiest address, so the next turn chooses better.
        while ended < wanted and not has_unread and (reading := self.task_dispatcher.pop_excess(0)) is not None:
            reading.refuse()
            ended += 1
        self._note_pressure("connections_ended", ended)
        return ended

    def _bound_memory(self, now: float) -> None:
        """Read no more of large requests while memory is short; end unread answers first, then requests that drip."""
        if now - self._memory_looked_at < _MEMORY_LOOK_SECONDS:
            return
        self._memory_looked_at = now
        held = {channel: channel.held_bytes for channel in self.active_channels.values()}
        over = sum(held.values()) - self._max_held_bytes
        self.is_short_of_memory = over > 0
        if over <= 0:
            return
        ended = 0
        for channel in sorted(held, key=lambda one: (not one.total_outbufs_len, one.rested_at)):
            arriving = channel.arriving_since
            is_new = arriving is not None and arriving > now - _PRESSED_ARRIVAL_SECONDS
            if over > 0 and held[channel] >= _SMALL_BYTES and not (is_new or channel.is_at_work or channel.will_close):
                channel.end()
                ended += 1
                over -= held[channel]
        self._note_pressure("memory_short", ended)

    def _note_pressure(self, event: str, ended: int) -> None:
        """Log the first of what happens many times a second."""
        now = time.monotonic()
        if now - self._pressed_at > _QUIET_SECONDS:
            log.warning(event, port=int(self.effective_port), ended=ended, connections=len(self.active_channels))
        self._pressed_at = now
