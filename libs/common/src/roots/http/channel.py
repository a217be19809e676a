"""One connection of waitress: problems for its refusals, no thread that waits for a slow reader, an end at any time.

Relies on these internals of waitress 3: `requests` has what waits for a thread or is on one, `request` what arrives,
`total_outbufs_len` the bytes still to send; `service` removes what it has answered from `requests`, and wakes the loop,
which asks each channel whether it is `readable`; a channel with `will_close` is closed by `handle_write`, which the
loop calls when the socket is writable or shut down. `received` is that of waitress, but for one request at a time.
"""

import contextlib
import socket
import struct
import time
from http.client import responses
from typing import Any

import msgspec
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

from roots.http.request import Request
from roots.http.web import PROBLEM_TYPE

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def _problem(status: int, detail: str) -> bytes:
    return msgspec.json.encode(
        {"type": "about:blank", "title": responses.get(status, "Error"), "status": status, "detail": detail}
    )


def _whole_answer(status: int, detail: str, *headers: str) -> bytes:
    body = _problem(status, detail)
    lines = [
        f"HTTP/1.1 {status} {responses[status]}",
        "Connection: close",
        *headers,
        f"Content-Length: {len(body)}",
        f"Content-Type: {PROBLEM_TYPE}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


_LATE = _whole_answer(408, "The request did not arrive in time.")
_BUSY = _whole_answer(503, "Too many requests to read wait already.", "Retry-After: 1")


class Task(WSGITask):
    """A request's answer; while draining, or on a descriptor of the reserve, it says that the connection ends."""

    def build_response_header(self) -> bytes:
        """Return the status line and the headers."""
        server = self.channel.server
        if server.is_draining or server.is_short_of_descriptors:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class RefusalTask(ErrorTask):
    """waitress's own refusals (malformed, too large), as problem+json instead of plain text."""

    def execute(self) -> None:
        """Write the answer."""
        error = self.request.error
        body = _problem(error.code, str(error.body))
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", PROBLEM_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """A client's connection.

    Its requests are read one by one: the bytes behind one wait until its client has read the answer. A client that
    pipelines and does not read would otherwise have a thread wait for it, and memory for each of its requests.

    Shape: rested_at is when it was last answered, or began, monotonic seconds.
    """

    outbufs: list[OverflowableBuffer]
    request: Request | None
    sent_continue: bool

    parser_class = Request
    task_class = Task
    error_task_class = RefusalTask

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.rested_at = time.monotonic()
        self._bytes_behind = b""
        self._unread_since: float | None = None
        self._answer_bytes = 0
        super().__init__(*arguments, **named)

    @property
    def is_at_work(self) -> bool:
        """Whether a whole request of it waits for a thread, or is on one."""
        return bool(self.requests)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of a request has come, and nothing of an answer is left."""
        has_received = self.request is not None or self.requests or self._bytes_behind
        return not (has_received or self.total_outbufs_len)

    @property
    def has_received_more(self) -> bool:
        """Whether bytes have come that were not read yet."""
        return bool(self._peek())

    @property
    def has_client_closed(self) -> bool:
        """Whether nothing more will come: the client has gone, or has closed its own direction."""
        return self._peek() == b""

    @property
    def arriving_since(self) -> float | None:
        """When the request that arrives began; behind one that is answered the rest is not read, hence not late."""
        return None if self.requests or self.request is None else self.request.began_at

    @property
    def unread_since(self) -> float | None:
        """Since when its client has had something to read, if so."""
        return self._unread_since if self.total_outbufs_len else None

    @property
    def held_bytes(self) -> int:
        """How much memory its requests and unread answers take, about."""
        requests = [*self.requests, *([] if self.request is None else [self.request])]
        received: int = sum(request.held_bytes for request in requests)
        return received + len(self._bytes_behind) + self._answer_bytes

    def refuse(self) -> None:
        """Answer its requests, which wait for a thread, with 503, and end it."""
        self._end(_BUSY)

    def end(self) -> None:
        """End the connection at the loop's next turn, also when its client reads nothing; a late request gets 408."""
        self._end(b"" if self.arriving_since is None else _LATE)

    def _end(self, answer: bytes) -> None:
        self.will_close = True
        # Closing the descriptor here would let another connection have its number while the loop knows it as this one.
        with contextlib.suppress(OSError):
            if self.total_outbufs_len:
                # The kernel would keep unread bytes for minutes.
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            else:
                self.socket.send(answer)
        with contextlib.suppress(OSError):
            # What has come and is not read would reset the connection, and the answer with it.
            self.socket.recv(1 << 16)
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _peek(self) -> bytes | None:
        """Return the first byte that was not read yet: empty at the end, None when none has come."""
        connection: socket.socket | None = self.socket
        try:
            # The loop may have closed it: a thread asks too.
            return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) if connection else b""
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def write_soon(self, data: Any) -> int:
        """Add `data` to what is sent."""
        with self.outbuf_lock:
            # While the request is still at work: the connection must not look quiet for a moment.
            self.rested_at = time.monotonic()
            if not self.total_outbufs_len:
                self._unread_since = self.rested_at
            self._answer_bytes += len(data)
            written: int = super().write_soon(data)
        return written

    def _flush_some(self, do_close: bool = True) -> bool:  # noqa: FBT001, FBT002  # waitress calls it so
        """Send what the socket takes; waitress would keep a whole answer until the next one, hours later perhaps."""
        has_sent: bool = super()._flush_some(do_close=do_close)
        if self._answer_bytes and not self.total_outbufs_len:
            self._answer_bytes = 0
            for buffer in self.outbufs:
                buffer.close()
            self.outbufs = [OverflowableBuffer(self.adj.outbuf_overflow)]
        return has_sent

    def received(self, data: bytes) -> bool:
        """Take what came, up to the end of one request; return whether the connection goes on."""
        with self.requests_lock:
            if self.will_close or self.close_when_flushed:
                return False
            while data and not self.requests:
                request = self.request = Request(self.adj) if self.request is None else self.request
                data = data[request.received(data) :]
                if request.expect_continue and request.headers_finished and not self.sent_continue:
                    self.send_continue()
                if request.completed:
                    self._take(request)
            self._bytes_behind = data
        return True

    def _take(self, request: Request) -> None:
        """Let a thread answer a request that has come."""
        self.request = None
        self.sent_continue = False
        if not request.empty:
            self.requests.append(request)
            self.server.add_task(self)

    def readable(self) -> bool:
        """Return whether more is to be read; the rest of a large request waits while memory is short."""
        if self._bytes_behind and super().readable():
            self.received(self._bytes_behind)
        is_large = self.request is not None and self.request.headers_finished
        return bool(super().readable()) and not (is_large and self.server.is_short_of_memory)
