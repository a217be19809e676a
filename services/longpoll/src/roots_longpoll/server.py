"""The public port: HTTP/1.1 on one protocol class, from bytes to a question for the desk and back.

It owns connections, their limits and deadlines. One request is under way at a time: one that is pipelined behind a held
poll ends that poll with its own cursor, which loses nothing. Nothing here allocates a task or a timer for a request.
"""

import asyncio
import math
import time
from collections import deque
from typing import cast

import httptools

from roots_longpoll import http
from roots_longpoll.connections import Connections
from roots_longpoll.cursor import parse
from roots_longpoll.errors import InvalidCursorError
from roots_longpoll.poll import Poll

HEADER_SECONDS = 10.0
IDLE_SECONDS = 75.0
# A client that does not read its answer for so long is cut off.
WRITE_SECONDS = 30.0
# After a refusal the rest of what the client sends is read and dropped for so long, so that it sees the answer.
LINGER_SECONDS = 2.0
MAX_HEADER_BYTES = 16 * 1024
# Larger reads are parsed in pieces, so that a header over the limit is noticed where it passes it.
_PIECE_BYTES = 4096
_SMALL_PIECE_BYTES = 512
# Requests that were read while the client did not read its answers.
_MAX_WAITING = 64

_METHODS = frozenset((b"GET", b"OPTIONS"))
# The client of 2009 asks for "undefined" after an answer that had no reconnectWith, as an error has none.
_WELCOME_PATHS = frozenset((b"/", b"/undefined"))
_SLASHES_BEFORE_PATH = 3

WELCOME_ROUTE = "/"
POLL_ROUTE = "/{uid}/{cursor}"
OTHER_ROUTE = "unmatched"


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_closing", "_header_bytes", "_in_message", "_is_last", "_messages", "_method", "_parser", "_paused", "_poll",
        "_route", "_server", "_transport", "_url", "_waiting", "asked_cors", "cors", "deadline",
    )  # fmt: skip

    def __init__(self, server: Connections) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._header_bytes = 0
        self._messages = 0
        self._in_message = False
        self._is_last = False
        self._closing = False
        self._paused = False
        self._poll: Poll | None = None
        self._waiting: deque[tuple[bytes, bytes, bool, bytes]] | None = None
        self._route = POLL_ROUTE
        self._method = "GET"
        # The header lines that let a page read the answer: to the request being answered, and to the one being read.
        self.cors = b""
        self.asked_cors = b""
        self.deadline = time.monotonic() + HEADER_SECONDS

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or refuse it when there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.add(self):
            self._refuse_and_close(503, "The replica has as many connections as it may.", {"Retry-After": "1"})

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection and its poll."""
        self._server.remove(self)
        self._closing = True
        if self._poll is not None:
            self._server.desk.abandon(self._poll)
            self._poll = None

    def data_received(self, data: bytes) -> None:
        """Parse what came; a large read in pieces."""
        if len(data) <= _PIECE_BYTES:
            self._feed(data)
            return
        for start in range(0, len(data), _SMALL_PIECE_BYTES):
            if self._closing:
                return
            self._feed(data[start : start + _SMALL_PIECE_BYTES])

    def pause_writing(self) -> None:
        """Stop taking requests from a client that does not read its answers, and give it a deadline."""
        self._paused = True
        self._transport.pause_reading()
        self.deadline = time.monotonic() + WRITE_SECONDS

    def resume_writing(self) -> None:
        """Go on with the requests that waited."""
        self._paused = False
        if not self._closing:
            self._rest()
            self._transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, and no answer is still to be sent or read."""
        return self._poll is None and not (self._in_message or self._waiting or self._paused or self._closing)

    def time_out(self) -> None:
        """End the connection at its deadline, with an answer where the client is owed one."""
        # Closing waits for the client to read; a second deadline ends that too.
        if self._paused or self._transport.is_closing():
            self._server.stats.slow_clients += 1
            self._transport.abort()
        elif self._in_message and not self._closing:
            self._refuse_and_close(408, "The request did not arrive in time.")
        else:
            self._close()

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._url = b""
        self._in_message = True
        if self._poll is None and not self._paused:
            self.deadline = time.monotonic() + HEADER_SECONDS

    def on_url(self, url: bytes) -> None:
        """Add a part of the request's target."""
        self._url += url

    def on_headers_complete(self) -> None:
        """Refuse a method that might bring a body before the body comes."""
        method = self._parser.get_method()
        if method not in _METHODS and not self._closing:
            self._method = method.decode("latin-1")
            self._route = OTHER_ROUTE
            self._refuse_and_close(405, "A poll is a GET.", {"Allow": http.ALLOWED_METHODS})

    def on_body(self, _body: bytes) -> None:
        """Refuse a body: a poll has none."""
        if not self._closing:
            self._refuse_and_close(413, "A poll has no body.")

    def on_message_complete(self) -> None:
        """Answer the request, or let it wait when the client does not read its answers."""
        self._in_message = False
        self._messages += 1
        if self._closing or self._is_last:
            return
        version = self._parser.get_http_version()
        # A client of HTTP/1.0 may wait for the end of the connection as the end of its answer.
        is_last = version == "1.0" or not self._parser.should_keep_alive()
        if version == "0.9":
            self._refuse_and_close(400, "The request line has no HTTP version.")
            return
        request = (self._parser.get_method(), self._url, is_last, self.asked_cors)
        if not self._paused and not self._waiting:
            self._handle(*request)
        else:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(request)
            if len(self._waiting) > _MAX_WAITING:
                self._transport.abort()

    # What the desk calls

    def answer(self, body: bytes) -> None:
        """Send 200 with the JSON `body`."""
        self._poll = None
        if self._closing:
            return
        server = self._server
        server.stats.count_answer(self._route)
        is_last = self._is_last or server.is_draining
        head = server.heads.ok_close if is_last else server.heads.ok
        if self.cors:
            self._transport.write(b"%b%d\r\n%b\r\n%b" % (head, len(body), self.cors, body))
        else:
            self._transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        if is_last:
            self._close()
        elif not self._paused:
            self._rest()

    def refuse(self, status: int, detail: str, retry_after_seconds: int) -> None:
        """Send a problem with Retry-After; the connection stays open."""
        self._poll = None
        self._refuse(status, detail, {"Retry-After": str(retry_after_seconds)})

    # Helpers, in the order in which they are called

    def _feed(self, data: bytes) -> None:
        if self._closing:
            return
        messages = self._messages
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The offer is passed over, and what follows is HTTP/1.1 still; a piece is short, so this nests not deeply.
            self._parser = httptools.HttpRequestParser(self)
            self._feed(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if not self._closing:
                self._refuse_and_close(400, "The request is not HTTP/1.1.")
            return
        self._header_bytes = self._header_bytes + len(data) if self._messages == messages else 0
        if self._in_message and self._header_bytes > MAX_HEADER_BYTES and not self._closing:
            self._refuse_and_close(431, f"The request's header has more than {MAX_HEADER_BYTES} bytes.")

    def _handle(self, method: bytes, url: bytes, is_last: bool, cors: bytes) -> None:  # noqa: FBT001  # called with a tuple
        desk = self._server.desk
        if self._poll is not None:
            desk.finish_early(self._poll)
        # The answer sets the next one; a poll has its own end.
        self.deadline = math.inf
        self._is_last = is_last
        self.cors = cors
        if method != b"GET":
            self._answer_options()
            return
        self._method = "GET"
        if url[:1] != b"/" or b"?" in url:
            url = _path_of(url)
        uid, _, cursor_text = url[1:].partition(b"/")
        if url in _WELCOME_PATHS:
            self._route = WELCOME_ROUTE
            if self._is_served():
                desk.welcome(self)
        elif not uid or not cursor_text or b"/" in cursor_text:
            self._route = OTHER_ROUTE
            self._refuse(404, "Polls are at / and at /{uid}/{cursor}.")
        else:
            self._route = POLL_ROUTE
            if self._is_served():
                self._begin_poll(uid, cursor_text, url[1:])

    def _answer_options(self) -> None:
        self._method = "OPTIONS"
        self._route = OTHER_ROUTE
        if self.cors:
            self._write(http.preflight(self._server.heads, self.cors), 204)
        else:
            self._refuse(405, "A poll is a GET.", {"Allow": http.ALLOWED_METHODS})
        if self._is_last and not self._closing:
            self._close()

    def _is_served(self) -> bool:
        refusal = self._server.refusal()
        if refusal is None:
            return True
        self._refuse(503, refusal, {"Retry-After": "1"})
        return False

    def _begin_poll(self, uid: bytes, cursor_text: bytes, own: bytes) -> None:
        desk = self._server.desk
        if not desk.accepts(uid):
            desk.welcome(self)
            return
        try:
            cursor = parse(cursor_text)
        except InvalidCursorError:
            self._refuse(400, "The cursor is not one that this service gave.")
            return
        self._poll = desk.poll(self, uid, cursor, own)

    def _refuse(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        if not self._closing:
            is_last = self._is_last or self._server.is_draining
            heads = self._server.heads
            self._write(http.problem(heads, status, detail, headers=headers, cors=self.cors, is_last=is_last), status)
            if is_last:
                self._close()

    def _refuse_and_close(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        """Answer, then read and drop what else comes until the client has had time to see the answer."""
        if self._poll is not None:
            self._server.desk.finish_early(self._poll)
        self.cors = self.asked_cors
        if status in {400, 408, 413, 431}:
            self._route = OTHER_ROUTE
        answer = http.problem(
            self._server.heads,
            status,
            detail,
            headers=headers,
            cors=self.cors,
            is_last=True,
            has_body=self._method != "HEAD",
        )
        self._write(answer, status)
        self._closing = True
        self.deadline = time.monotonic() + LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _write(self, answer: bytes, status: int) -> None:
        self._server.stats.count_request(self._method, self._route, status)
        self._transport.write(answer)
        if not self._paused:
            self._rest()

    def _rest(self) -> None:
        """Wait for the client's next request, or for the rest of it."""
        self.deadline = time.monotonic() + (HEADER_SECONDS if self._in_message else IDLE_SECONDS)

    def _close(self) -> None:
        self._closing = True
        self.deadline = time.monotonic() + WRITE_SECONDS
        self._transport.close()

    def _go_on(self) -> None:
        while self._waiting and not self._paused and not self._closing:
            self._handle(*self._waiting.popleft())


class CorsConnection(Connection):
    """A connection of a replica that lets pages of other origins poll; it looks at the request's headers."""

    __slots__ = ()

    def on_message_begin(self) -> None:
        """Begin a request, of which no origin is known yet."""
        self.asked_cors = b""
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the request's origin when it is an allowed one."""
        if name.lower() == b"origin":
            origin = value.decode("latin-1")
            self.asked_cors = http.cors_lines(origin) if origin in self._server.origins else b""


def _path_of(url: bytes) -> bytes:
    """Return the path of a target: without its query, and without the origin that a proxy's client may send."""
    path = url.partition(b"?")[0]
    if path.startswith((b"http://", b"https://")):
        parts = path.split(b"/", _SLASHES_BEFORE_PATH)
        path = b"/" + parts[-1] if len(parts) > _SLASHES_BEFORE_PATH else b"/"
    return path
