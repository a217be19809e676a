"""waitress as every Roots service runs it: bounded, without its own banner, and drained when it stops.

waitress by itself drops requests in flight on SIGTERM. `HttpServer.drain` answers them: for a moment it goes on
accepting but closes each connection after its answer, then it closes the listener and waits for what is under way.
"""

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from roots.http.listener import Listener
from roots.http.web import MAX_BODY_BYTES
from roots.runtime import descriptors, logs

MAX_CONNECTIONS = 1000
# Of the requests and unread answers of all connections. docs/operations.md has the sum for each process.
MAX_HELD_BYTES = 32 << 20
_POLL_SECONDS = 0.02

log = logs.get(__name__)

WsgiApp = Callable[..., Any]


class HttpServer:
    """One WSGI application on one port, served by `threads` threads.

    Shape: reserved_descriptors is how many connections it accepts when the process has no other descriptor left.
        max_body_bytes is what the application gets of one body; of a longer one it gets the length alone.
    Errors: OSError from the constructor when the port can't be bound.
    """

    def __init__(
        self,
        app: WsgiApp,
        *,
        host: str,
        port: int,
        threads: int = 16,
        max_connections: int = MAX_CONNECTIONS,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_held_bytes: int = MAX_HELD_BYTES,
        reserved_descriptors: int = 0,
    ) -> None:
        self._reserve = descriptors.Reserve(reserved_descriptors)
        self._server: Any = Listener(
            app,
            host=host,
            port=port,
            threads=threads,
            max_connections=max_connections,
            max_body_bytes=max_body_bytes,
            max_held_bytes=max_held_bytes,
            reserve=self._reserve,
        )
        self._thread = threading.Thread(target=self._server.run, name=f"http-{self.port}", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on, also when 0 was asked for."""
        return int(self._server.effective_port)

    @property
    def queue_depth(self) -> int:
        """Requests that wait for a thread."""
        return len(self._server.task_dispatcher.queue)

    @property
    def full_seconds(self) -> float:
        """For how long no connection could be accepted, since every connection has a request at work; 0 with room."""
        full_since = self._server.full_since
        return 0.0 if full_since is None else time.monotonic() - full_since

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
        for _ in range(server.adj.backlog):
            if not _has_waiting_connection(server.socket):
                break
            server.handle_accept()
        server.accepting = False
        server.del_channel()
        server.socket.close()

    def _close_idle(self) -> None:
        for channel in list(self._server.active_channels.values()):
            if (channel.is_idle and not channel.has_received_more) or not channel.connected:
                channel.handle_close()

    def _close_connections(self) -> None:
        self._close_listener()
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()


def _has_waiting_connection(listener: socket.socket) -> bool:
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    return bool(poller.poll(0))
