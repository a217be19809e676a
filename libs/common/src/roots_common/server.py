"""waitress as every Roots service runs it: bounded, quiet about itself, and drained when it is told to stop.

waitress by itself drops requests in flight on SIGTERM. `HttpServer.drain` answers them: for a moment it goes on
accepting but closes each connection after its answer, then it closes the listener and waits for what is under way.
"""

import errno
import select
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from http.client import responses
from typing import Any

import msgspec
import waitress
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer
from waitress.task import ErrorTask, WSGITask

from roots_common import descriptors, logs
from roots_common.web import PROBLEM_TYPE

# Over this waitress hangs up without reading the rest, and the client may never see why; `web.read_json` refuses far
# smaller bodies with an answer.
MAX_RECEIVED_BYTES = 16 << 20
MAX_HEADER_BYTES = 32 << 10
# Above the keep-alive of the proxies in front, so that they close an idle connection first.
IDLE_SECONDS = 75
MAX_CONNECTIONS = 1000
# Header and body together. waitress's own timeout begins anew with each byte.
ARRIVAL_SECONDS = 30.0
_LOOK_SECONDS = 1
# Without a free descriptor nobody is accepted for so long; who has connected meanwhile waits in the listener's queue.
_NO_DESCRIPTOR_SECONDS = 0.5
_NO_DESCRIPTOR = frozenset((errno.EMFILE, errno.ENFILE))
_POLL_SECONDS = 0.02

log = logs.get(__name__)

WsgiApp = Callable[..., Any]


class HttpServer:
    """One WSGI application on one port, served by `threads` threads.

    Shape: reserved_descriptors is how many connections it accepts when the process has no other descriptor left.
    Errors: OSError from the constructor when the port can't be bound.
    """

    def __init__(self, app: WsgiApp, *, host: str, port: int, threads: int = 16, reserved_descriptors: int = 0) -> None:
        server = waitress.create_server(
            app,
            host=host,
            port=port,
            threads=threads,
            connection_limit=descriptors.connections_within(MAX_CONNECTIONS),
            asyncore_use_poll=True,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=_LOOK_SECONDS,
            max_request_body_size=MAX_RECEIVED_BYTES,
            max_request_header_size=MAX_HEADER_BYTES,
            ident=None,
            expose_tracebacks=False,
        )
        if not isinstance(server, BaseWSGIServer):
            raise OSError(f"{host} names more than one address; give one")
        server.channel_class = _Channel
        server.maintenance = partial(_end_late, server, server.maintenance)
        server.is_draining = False
        self._reserve = descriptors.Reserve(reserved_descriptors)
        _Acceptor(server, self._reserve)
        self._server: Any = server
        self._thread = threading.Thread(target=server.run, name=f"http-{self.port}", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on, also when 0 was asked for."""
        return int(self._server.effective_port)

    @property
    def queue_depth(self) -> int:
        """Requests that wait for a thread."""
        return len(self._server.task_dispatcher.queue)

    def start(self) -> None:
        """Serve in a thread of its own."""
        self._thread.start()

    def drain(self, *, linger_seconds: float, deadline_seconds: float) -> bool:
        """Stop accepting, answer every accepted request, and close; return whether all were answered in time.

        Units: linger_seconds while new connections are still answered, so that a proxy in front can notice;
            deadline_seconds in all.
        """
        deadline = time.monotonic() + deadline_seconds
        self._server.is_draining = True
        linger = threading.Event()
        linger.wait(min(linger_seconds, deadline_seconds))
        self._in_loop(self._close_listener)
        answered = False
        while not answered and time.monotonic() < deadline:
            self._in_loop(self._close_idle)
            answered = not self._server.active_channels
            if not answered:
                linger.wait(_POLL_SECONDS)
        if not answered:
            log.warning("drain_incomplete", connections=len(self._server.active_channels))
        self.close()
        return answered

    def close(self) -> None:
        """Close every connection and end the threads."""
        self._in_loop(self._close_connections)
        # Before the trigger goes: a thread that has just answered still pulls it.
        self._server.task_dispatcher.shutdown(timeout=1)
        self._in_loop(self._server.trigger.close)
        self._thread.join(timeout=5)
        self._reserve.close()

    def _in_loop(self, function: Callable[[], None]) -> None:
        """Run `function` on the thread of waitress's loop, which alone may touch its sockets."""
        if not self._thread.is_alive():
            return
        done = threading.Event()

        def run() -> None:
            try:
                function()
            finally:
                done.set()

        self._server.trigger.pull_trigger(run)
        done.wait(timeout=5)

    def _close_listener(self) -> None:
        server = self._server
        if not server.accepting:
            return
        # What the kernel has accepted for us already is a client that may have sent its request.
        while _has_waiting_connection(server.socket):
            server.handle_accept()
        server.accepting = False
        server.del_channel()
        server.socket.close()

    def _close_idle(self) -> None:
        for channel in list(self._server.active_channels.values()):
            is_idle = not channel.requests and channel.request is None and not channel.total_outbufs_len
            if (is_idle and not _has_unread_bytes(channel.socket)) or not channel.connected:
                channel.handle_close()

    def _close_connections(self) -> None:
        self._close_listener()
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()


class _Acceptor:
    """Accepts the connections of one server, also without free descriptors: waitress alone would try again at once."""

    def __init__(self, server: Any, reserve: descriptors.Reserve) -> None:
        self._server = server
        self._reserve = reserve
        self._is_readable = server.readable
        self._paused_until = 0.0
        self._is_short = False
        server.readable = self._readable
        server.handle_accept = self._accept
        server.is_short_of_descriptors = False

    def _readable(self) -> bool:
        is_readable: bool = self._is_readable()
        if not self._reserve.is_full:
            self._reserve.refill()
        return is_readable and time.monotonic() >= self._paused_until

    def _accept(self) -> None:
        server = self._server
        try:
            connection, address = self._accept_one()
        except BlockingIOError:
            return
        except OSError as error:
            # The other errors are of a client that has gone meanwhile.
            if error.errno in _NO_DESCRIPTOR:
                self._paused_until = time.monotonic() + _NO_DESCRIPTOR_SECONDS
            return
        server.is_short_of_descriptors = not self._reserve.is_full
        if self._is_short and not server.is_short_of_descriptors:
            self._is_short = False
            log.info("descriptors_free", port=int(server.effective_port))
        try:
            server.set_socket_options(connection)
        except OSError:
            connection.close()
            return
        server.channel_class(server, connection, server.fix_addr(address), server.adj, map=server._map)  # noqa: SLF001  # as waitress does it

    def _accept_one(self) -> tuple[socket.socket, Any]:
        """Return the next connection, on a descriptor of the reserve when there is no other. Errors: OSError."""
        server = self._server
        while True:
            try:
                connection, address = server.socket.accept()
            except OSError as error:
                if error.errno not in _NO_DESCRIPTOR:
                    raise
                if not self._is_short:
                    self._is_short = True
                    log.warning("descriptors_used_up", port=int(server.effective_port))
                if not self._reserve.release():
                    raise
            else:
                return connection, address


def _end_late(server: Any, end_idle: Callable[[float], None], now: float) -> None:
    """End the connections whose requests take too long to arrive, and those that are idle."""
    begun_before = time.monotonic() - ARRIVAL_SECONDS
    for channel in server.active_channels.values():
        # Behind one that is answered the rest is not read, so that it is not late.
        arriving = None if channel.requests else channel.request
        if arriving is not None and arriving.began_at < begun_before:
            channel.will_close = True
    end_idle(now)


def _has_waiting_connection(listener: socket.socket) -> bool:
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    return bool(poller.poll(0))


def _has_unread_bytes(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False
    except OSError:
        return False


class _Task(WSGITask):
    """A request's answer; while draining, or on a descriptor of the reserve, it says that the connection ends."""

    def build_response_header(self) -> bytes:
        server = self.channel.server
        if server.is_draining or server.is_short_of_descriptors:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class _ErrorTask(ErrorTask):
    """waitress's own refusals (malformed, too large), as problem+json instead of plain text."""

    def execute(self) -> None:
        error = self.request.error
        body = msgspec.json.encode(
            {
                "type": "about:blank",
                "title": responses.get(error.code, error.reason),
                "status": error.code,
                "detail": str(error.body),
            }
        )
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", PROBLEM_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Request(HTTPRequestParser):
    """A request as it arrives, refused when a proxy in front could see its end elsewhere (RFC 9112, 6.1 and 6.3)."""

    def __init__(self, adjustments: Any) -> None:
        super().__init__(adjustments)
        self.began_at = time.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        # What is left of it was not heeded: HTTP/1.0 knows no such header.
        if "TRANSFER_ENCODING" in self.headers or (self.chunked and "CONTENT_LENGTH" in self.headers):
            raise ParsingError("The body has two lengths")


class _Channel(HTTPChannel):
    parser_class = _Request
    task_class = _Task
    error_task_class = _ErrorTask
