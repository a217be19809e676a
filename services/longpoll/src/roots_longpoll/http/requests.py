"""Reads HTTP/1.1 requests from the bytes of one connection, within limits.

A reader exists while its connection sends something that is not a plain poll: those are recognised without it. It owns
the parser, and notices what is no request before the rest of it comes.
"""

import re
from typing import NamedTuple, Protocol

import httptools

from roots.contracts.uids import UID_CHARACTERS
from roots_longpoll.delivery import cursor as cursors
from roots_longpoll.delivery.cursor import Cursor
from roots_longpoll.errors import InvalidCursorError

MAX_HEADER_BYTES = 16 * 1024
# Larger reads are parsed in pieces, so that a header over the limit is noticed where it passes it.
_PIECE_BYTES = 4096
_SMALL_PIECE_BYTES = 512

METHODS = frozenset((b"GET", b"OPTIONS"))

_GET_LINE = re.compile(rb"GET [^ \r\n]+ HTTP/1\.1\r\n")
# A poll as nearly all are: a uid and a cursor.
_POLL_LINE = re.compile(rb"GET /([A-Za-z0-9_-]{%d})/%b HTTP/1\.1\r\n" % (UID_CHARACTERS, cursors.PATTERN)).match
POLL_BEGIN = b"GET /"
UID_START = len(POLL_BEGIN)
UID_END = UID_START + UID_CHARACTERS
_MAX_KNOWN = 1024
_MAX_KNOWN_BYTES = 1024


class Request(NamedTuple):
    """One request. Shape: origin is the value of its header, empty when there is none."""

    method: bytes
    target: bytes
    origin: bytes
    is_last: bool


class Sender(Protocol):
    """The connection whose bytes are read."""

    @property
    def is_closing(self) -> bool:
        """Whether nothing more is to be read."""

    def request_began(self) -> None:
        """Take note of the first byte of a request."""

    def request_read(self, request: Request) -> None:
        """Take a whole request."""

    def request_failed(self, status: int, detail: str, *, method: bytes = b"GET", origin: bytes = b"") -> None:
        """Refuse what is no request of this service, and close."""


class RequestReader:
    """The parser of one connection.

    Shape: is_within is true while a request has begun and not ended. requests counts those that were read; last is the
        latest of them.
    """

    __slots__ = ("_header_bytes", "_origin", "_parser", "_sender", "_target", "is_within", "last", "requests")

    def __init__(self, sender: Sender) -> None:
        self.is_within = False
        self.requests = 0
        self.last: Request | None = None
        self._sender = sender
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._origin = b""
        self._header_bytes = 0

    @property
    def origin(self) -> bytes:
        """The origin of the request that is being read, as far as it is known."""
        return self._origin

    def feed(self, data: bytes) -> None:
        """Parse what came; a large read in pieces."""
        if len(data) <= _PIECE_BYTES:
            self._feed(data)
            return
        for start in range(0, len(data), _SMALL_PIECE_BYTES):
            self._feed(data[start : start + _SMALL_PIECE_BYTES])

    def _feed(self, data: bytes) -> None:
        sender = self._sender
        if sender.is_closing:
            return
        requests = self.requests
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.last = None
            # The offer is passed over, and what follows is HTTP/1.1 still; a piece is short, so this nests not deeply.
            self._parser = httptools.HttpRequestParser(self)
            self._feed(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._fail(400, "The request is not HTTP/1.1.")
            return
        self._header_bytes = self._header_bytes + len(data) if self.requests == requests else 0
        if self.is_within and self._header_bytes > MAX_HEADER_BYTES:
            self._fail(431, f"The request's header has more than {MAX_HEADER_BYTES} bytes.")

    def _fail(self, status: int, detail: str, method: bytes = b"GET") -> None:
        if not self._sender.is_closing:
            self._sender.request_failed(status, detail, method=method, origin=self._origin)

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin a request, of which nothing is known yet."""
        self._target = b""
        self._origin = b""
        self.is_within = True
        self._sender.request_began()

    def on_url(self, part: bytes) -> None:
        """Add a part of the request's target."""
        self._target += part

    def on_headers_complete(self) -> None:
        """Refuse a method that might bring a body before the body comes."""
        method = self._parser.get_method()
        if method not in METHODS:
            self._fail(405, "A poll is a GET.", method)

    def on_body(self, _body: bytes) -> None:
        """Refuse a body: a poll has none."""
        self._fail(413, "A poll has no body.")

    def on_message_complete(self) -> None:
        """Hand the request on."""
        self.is_within = False
        self.requests += 1
        if self._sender.is_closing:
            return
        version = self._parser.get_http_version()
        if version == "0.9":
            self._fail(400, "The request line has no HTTP version.")
            return
        # A client of HTTP/1.0 may wait for the end of the connection as the end of its answer.
        is_last = version == "1.0" or not self._parser.should_keep_alive()
        self.last = Request(self._parser.get_method(), self._target, self._origin, is_last)
        self._sender.request_read(self.last)


class OriginReader(RequestReader):
    """The parser of a connection whose requests may come from pages of other origins; it looks at their headers."""

    __slots__ = ()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note the origin."""
        if name.lower() == b"origin":
            self._origin = value


class ParsedTail(NamedTuple):
    """What follows the uid in a poll: its cursor, and the origin that its headers name (empty for none)."""

    origin: bytes
    cursor: Cursor


class KnownBytes:
    """Bytes that were parsed before, and what they mean: the same bytes mean the same again.

    A client sends the same headers with every poll, and so do others like it. Only what follows the request line of one
    whole GET of HTTP/1.1, which asked to keep the connection, is learned. Clients that got the same
    cursor from one fan-out come back with polls that differ in the uid only: one is parsed, the others are looked up.
    At most `_MAX_KNOWN` of each are kept.
    """

    def __init__(self) -> None:
        self._origins: dict[bytes, bytes] = {}
        self._tails: dict[bytes, ParsedTail] = {}
        self.find = self._tails.get
        """Return what follows the uid of a poll, given its bytes from there on; None when they were not seen before."""

    def parse(self, data: bytes) -> tuple[bytes, ParsedTail] | None:
        """Return the uid of a poll whose headers are known, and what follows it; None for all else."""
        line = _POLL_LINE(data)
        if line is None:
            return None
        origin = self._origins.get(data[line.end() :])
        if origin is None:
            return None
        uid, *digits = line.groups()
        try:
            tail = ParsedTail(origin, cursors.from_digits(*digits))
        except InvalidCursorError:
            return None
        if len(self._tails) >= _MAX_KNOWN:
            self._tails.clear()
        self._tails[data[UID_END:]] = tail
        return uid, tail

    def learn(self, data: bytes, reader: RequestReader) -> None:
        """Learn from `data`, which `reader` read from its beginning."""
        request = reader.last
        if request is None or reader.requests != 1 or reader.is_within or request.is_last or request.method != b"GET":
            return
        line = _GET_LINE.match(data)
        if line is None or len(data) - line.end() > _MAX_KNOWN_BYTES:
            return
        if len(self._origins) >= _MAX_KNOWN:
            self._origins.clear()
        self._origins[data[line.end() :]] = request.origin
