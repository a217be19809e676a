"""The public port: HTTP/1.1 on one protocol class, from bytes to a poll and back.

It owns connections, their limits and deadlines. One request is under way at a time: one that is pipelined behind a held
poll ends that poll with its own cursor, which loses nothing. Nothing here allocates a task or a timer for a request; a
poll whose headers have been seen before takes not even a parser.
"""

import asyncio
import math
from collections import deque
from typing import cast

from roots_longpoll.delivery.cursor import parse
from roots_longpoll.delivery.dispatcher import PollDispatcher
from roots_longpoll.delivery.poll import Poll
from roots_longpoll.delivery.responses import SharedBody
from roots_longpoll.errors import InvalidCursorError
from roots_longpoll.http import rendering
from roots_longpoll.http.requests import POLL_BEGIN, UID_END, UID_START, OriginReader, Request, RequestReader
from roots_longpoll.http.server_state import ServerState

HEADER_SECONDS = 10.0
IDLE_SECONDS = 75.0
# A client that does not read its answer for so long is cut off.
WRITE_SECONDS = 30.0
# After a refusal the rest of what the client sends is read and dropped for so long, so that it sees the answer.
LINGER_SECONDS = 2.0
# Requests that were read while the client did not read its answers.
_MAX_WAITING = 64

# The client of 2009 asks for "undefined" after an answer that had no reconnectWith, as an error has none.
_WELCOME_PATHS = frozenset((b"/", b"/undefined"))
_SLASHES_BEFORE_PATH = 3

WELCOME_ROUTE = "/"
POLL_ROUTE = "/{uid}/{cursor}"
OTHER_ROUTE = "unmatched"


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_cors", "_dispatcher", "_is_last", "_method", "_paused", "_poll", "_reader", "_route", "_server", "_transport",
        "_waiting", "deadline", "is_closing",
    )  # fmt: skip

    def __init__(self, dispatcher: PollDispatcher, server: ServerState) -> None:
        self._dispatcher = dispatcher
        self._server = server
        self._reader: RequestReader | None = None
        self._poll: Poll | None = None
        self._waiting: deque[Request] | None = None
        self._is_last = False
        self._paused = False
        self._route = OTHER_ROUTE
        self._method = "GET"
        # The header lines that let a page of another origin read the answer.
        self._cors = b""
        self.is_closing = False
        self.deadline = server.now + HEADER_SECONDS

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or refuse it when there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        if self._server.add(self):
            return
        if self._server.is_crowded:
            self.is_closing = True
            self._transport.abort()
        else:
            self._refuse_and_close(503, "The replica has as many connections as it may.", {"Retry-After": "1"})

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection and its poll."""
        self._server.remove(self)
        self.is_closing = True
        self._reader = None
        if self._poll is not None:
            self._dispatcher.abandon(self._poll)
            self._poll = None

    def data_received(self, data: bytes) -> None:
        """Begin the poll that came, or read what else it is."""
        server = self._server
        reader = self._reader
        if reader is None:
            is_busy = self._paused or self._waiting or self._is_last or self.is_closing or server.refusal
            if not is_busy and self._take_known(data):
                return
            reader = self._reader = OriginReader(self) if server.origins else RequestReader(self)
            reader.feed(data)
            server.known.learn(data, reader)
        else:
            reader.feed(data)
        if not reader.is_within:
            self._reader = None

    def pause_writing(self) -> None:
        """Stop taking requests from a client that does not read its answers, and give it a deadline."""
        self._paused = True
        self._transport.pause_reading()
        self.deadline = self._server.now + WRITE_SECONDS

    def resume_writing(self) -> None:
        """Go on with the requests that waited."""
        self._paused = False
        if not self.is_closing:
            self._rest()
            self._transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way, and no answer is still to be sent or read."""
        return self._poll is None and not (self._is_reading or self._waiting or self._paused or self.is_closing)

    def time_out(self) -> None:
        """End the connection at its deadline, with an answer where the client is owed one."""
        # Closing waits for the client to read; a second deadline ends that too.
        if self._paused or self._transport.is_closing():
            self._server.stats.slow_clients += 1
            self._transport.abort()
        elif self._reader is not None and self._is_reading and not self.is_closing:
            self.request_failed(408, "The request did not arrive in time.", origin=self._reader.origin)
        else:
            self._close()

    # What the reader calls

    def request_began(self) -> None:
        """Give the request a deadline for its header, unless a poll is held meanwhile."""
        if self._poll is None and not self._paused:
            self.deadline = self._server.now + HEADER_SECONDS

    def request_read(self, request: Request) -> None:
        """Answer a request, or let it wait when the client does not read its answers."""
        if self._is_last:
            return
        if not self._paused and not self._waiting:
            self._handle(request)
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(request)
        if len(self._waiting) > _MAX_WAITING:
            self._transport.abort()

    def request_failed(self, status: int, detail: str, *, method: bytes = b"GET", origin: bytes = b"") -> None:
        """Refuse what is no request of this service, and close."""
        self._method = method.decode("latin-1")
        self._route = OTHER_ROUTE
        self._cors = self._server.cors_lines(origin)
        headers = {"Allow": rendering.ALLOWED_METHODS} if status == rendering.METHOD_NOT_ALLOWED else None
        self._refuse_and_close(status, detail, headers)

    # What the dispatcher calls

    def answer(self, body: bytes) -> None:
        """Send 200 with the JSON `body`."""
        self._poll = None
        if self.is_closing:
            return
        server = self._server
        server.stats.count_answer(self._route)
        is_last = self._is_last or server.is_draining
        head = server.heads.ok_close if is_last else server.heads.ok
        if self._cors:
            self._transport.write(b"%b%d\r\n%b\r\n%b" % (head, len(body), self._cors, body))
        else:
            self._transport.write(b"%b%d\r\n\r\n%b" % (head, len(body), body))
        if is_last:
            self._close()
        elif not self._paused:
            self._rest()

    def answer_shared(self, shared: SharedBody, uid: bytes) -> None:
        """Send 200 with the body that `shared` is for `uid`; an answer like most has its head from there too."""
        server = self._server
        if self._is_last or self._cors or server.is_draining or self.is_closing or self._paused:
            self.answer(shared.of(uid))
            return
        self._poll = None
        server.stats.shared_answers += 1
        # A join costs half of what formatting does.
        self._transport.write(b"".join((shared.wire or server.heads.begin(shared), uid, shared.closing)))
        self.deadline = server.now + IDLE_SECONDS

    def refuse(self, status: int, detail: str, retry_after_seconds: int) -> None:
        """Send a problem with Retry-After; the connection stays open."""
        self._poll = None
        self._refuse(status, detail, {"Retry-After": str(retry_after_seconds)})

    # Helpers, in the order in which they are called

    @property
    def _is_reading(self) -> bool:
        """Whether a request has begun to arrive."""
        return self._reader is not None and self._reader.is_within

    def _take_known(self, data: bytes) -> bool:
        """Begin a poll of which all but the cursor was parsed before, perhaps that too; return whether it is one."""
        server = self._server
        uid = data[UID_START:UID_END]
        client = self._dispatcher.client_of(uid)
        tail = server.known.find(data[UID_END:])
        # The bytes of an accepted uid are in its place, so that none of them can be part of anything else.
        if tail is None or client is None or not data.startswith(POLL_BEGIN):
            parsed = server.known.parse(data)
            if parsed is None:
                return False
            uid, tail = parsed
        origin, cursor = tail
        if self._poll is not None or origin or self._cors:
            self._begin(origin, is_last=False)
        else:
            self.deadline = math.inf
            self._method = "GET"
        self._route = POLL_ROUTE
        self._poll = self._dispatcher.poll(self, uid, cursor, client)
        return True

    def _begin(self, origin: bytes, *, is_last: bool) -> None:
        """Make the next request the one that is under way."""
        if self._poll is not None:
            self._dispatcher.finish_early(self._poll)
        # The answer sets the next one; a poll has its own end.
        self.deadline = math.inf
        self._is_last = is_last
        self._cors = self._server.cors_lines(origin) if origin else b""
        self._method = "GET"

    def _handle(self, request: Request) -> None:
        self._begin(request.origin, is_last=request.is_last)
        if request.method != b"GET":
            self._answer_options()
            return
        target = request.target
        if target[:1] != b"/" or b"?" in target:
            target = _path_of(target)
        uid, _, cursor_text = target[1:].partition(b"/")
        if target in _WELCOME_PATHS:
            self._route = WELCOME_ROUTE
            if self._is_served():
                self._dispatcher.welcome(self)
        elif not uid or not cursor_text or b"/" in cursor_text:
            self._route = OTHER_ROUTE
            self._refuse(404, "Polls are at / and at /{uid}/{cursor}.")
        else:
            self._route = POLL_ROUTE
            if self._is_served():
                self._begin_poll(uid, cursor_text)

    def _answer_options(self) -> None:
        self._method = "OPTIONS"
        self._route = OTHER_ROUTE
        if self._cors:
            self._write(rendering.preflight(self._server.heads, self._cors), 204)
        else:
            self._refuse(405, "A poll is a GET.", {"Allow": rendering.ALLOWED_METHODS})
        if self._is_last and not self.is_closing:
            self._close()

    def _is_served(self) -> bool:
        refusal = self._server.refusal
        if refusal is None:
            return True
        self._server.stats.refusals["stale"] += 1
        self._refuse(503, refusal, {"Retry-After": "1"})
        return False

    def _begin_poll(self, uid: bytes, cursor_text: bytes) -> None:
        try:
            cursor = parse(cursor_text)
        except InvalidCursorError:
            if self._dispatcher.accepts(uid):
                self._refuse(400, "The cursor is not one that this service gave.")
            else:
                self._dispatcher.welcome(self)
            return
        self._poll = self._dispatcher.poll(self, uid, cursor)

    def _refuse(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        if not self.is_closing:
            is_last = self._is_last or self._server.is_draining
            heads = self._server.heads
            self._write(
                rendering.problem(heads, status, detail, headers=headers, cors=self._cors, is_last=is_last), status
            )
            if is_last:
                self._close()

    def _refuse_and_close(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        """Answer, then read and drop what else comes until the client has had time to see the answer."""
        if self._poll is not None:
            self._dispatcher.finish_early(self._poll)
        answer = rendering.problem(
            self._server.heads,
            status,
            detail,
            headers=headers,
            cors=self._cors,
            is_last=True,
            has_body=self._method != "HEAD",
        )
        self._write(answer, status)
        self.is_closing = True
        self.deadline = self._server.now + LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _write(self, answer: bytes, status: int) -> None:
        self._server.stats.count_request(self._method, self._route, status)
        self._transport.write(answer)
        if not self._paused:
            self._rest()

    def _rest(self) -> None:
        """Wait for the client's next request, or for the rest of it."""
        self.deadline = self._server.now + (HEADER_SECONDS if self._is_reading else IDLE_SECONDS)

    def _close(self) -> None:
        self.is_closing = True
        self.deadline = self._server.now + WRITE_SECONDS
        self._transport.close()

    def _go_on(self) -> None:
        while self._waiting and not self._paused and not self.is_closing:
            self._handle(self._waiting.popleft())


def _path_of(url: bytes) -> bytes:
    """Return the path of a target: without its query, and without the origin that a proxy's client may send."""
    path = url.partition(b"?")[0]
    if path.startswith((b"http://", b"https://")):
        parts = path.split(b"/", _SLASHES_BEFORE_PATH)
        path = b"/" + parts[-1] if len(parts) > _SLASHES_BEFORE_PATH else b"/"
    return path
