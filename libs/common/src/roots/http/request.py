"""A request as it arrives at waitress, read more strictly than waitress reads it, and kept in memory within a bound.

A proxy in front and this server must see the same end of each request (RFC 9112, 6 and 7): what could be read in two
ways is refused. Relies on these internals of waitress 3: HTTPRequestParser calls `parse_header` once, with the whole
header; its `received` calls `body_rcv.received`, and looks at `error` and `completed` of it; the channel sends
100 Continue while `expect_continue` is set, and marks the request as not completed then.
"""

import re
import sys
import time
from collections.abc import Callable
from typing import Any

from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.receiver import FixedStreamReceiver
from waitress.rfc7230 import HEADER_FIELD_RE
from waitress.utilities import BadRequest, Error, RequestEntityTooLarge

# Over this the rest is not read, and the client may never see why; `web.read_json` refuses far smaller bodies with an
# answer. What is over the bound of the server is read and dropped.
MAX_RECEIVED_BYTES = 16 << 20
MAX_HEADER_BYTES = 32 << 10
_MAX_CHUNK_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8 << 10

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED))
# The begin of such a line, so that nonsense is refused before its end comes.
_CHUNK_BEGIN = re.compile(rb"[0-9A-Fa-f]{1,16}(?![^;\r])")
_FOLDED = re.compile(rb"\r\n[ \t]")
_TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding:[ \t]*([^\r]*?)[ \t]*(?=\r)", re.IGNORECASE)


class ExpectationFailed(Error):  # noqa: N818  # as waitress names its own
    """An `Expect` that the server does not know."""

    code = 417
    reason = "Expectation Failed"


class Body(OverflowableBuffer):
    """The bytes of a body, in memory alone; those of one that is longer than `kept_bytes` are counted and dropped."""

    def __init__(self, kept_bytes: int) -> None:
        super().__init__(overflow=sys.maxsize)
        self._kept_bytes = kept_bytes
        self._length = 0

    def append(self, data: bytes) -> None:
        """Add what came."""
        self._length += len(data)
        if self._length <= self._kept_bytes:
            super().append(data)

    def __len__(self) -> int:
        return self._length


class ChunkedBody:
    """Receives a chunked body (RFC 9112, 7.1). waitress's own takes bare LF, empty lines, any size and any trailer."""

    def __init__(self, body: Body) -> None:
        self.completed = False
        self.error: Error | None = None
        self._body = body
        self._chunk_left = 0
        self._line = b""
        self._take_line: Callable[[bytes], None] = self._take_size
        self._trailer_bytes = 0

    def __len__(self) -> int:
        return len(self._body)

    def getfile(self) -> Any:
        """Return the body as a file."""
        return self._body.getfile()

    def getbuf(self) -> Body:
        """Return the body."""
        return self._body

    def received(self, data: bytes) -> int:
        """Take what is of this body, and return how many bytes that is."""
        place = 0
        while place < len(data) and not self.completed and self.error is None:
            if self._chunk_left:
                piece = data[place : place + self._chunk_left]
                self._body.append(piece)
                self._chunk_left -= len(piece)
            else:
                piece = data[place : data.find(b"\n", place) + 1 or len(data)]
                self._read_line(piece)
            place += len(piece)
        return place

    def _read_line(self, piece: bytes) -> None:
        line = self._line = self._line + piece
        if len(line) > _MAX_CHUNK_LINE_BYTES:
            self.error = BadRequest("A line of the chunked body is too long")
        elif self._take_line == self._take_size and _CHUNK_BEGIN.match(line) is None:
            self.error = BadRequest("Invalid chunk size")
        elif self._take_line == self._take_end and not b"\r\n".startswith(line):
            self.error = BadRequest("Chunk not properly terminated")
        elif line.endswith(b"\n"):
            self._line = b""
            if line.endswith(b"\r\n"):
                self._take_line(line[:-2])
            else:
                self.error = BadRequest("Bare LF found in chunked body")

    def _take_size(self, line: bytes) -> None:
        match = _CHUNK.fullmatch(line)
        if match is None:
            self.error = BadRequest("Invalid chunk size or extension")
            return
        self._chunk_left = int(match[1], 16)
        self._take_line = self._take_end if self._chunk_left else self._take_trailer
        if self._chunk_left >= MAX_RECEIVED_BYTES:
            self.error = RequestEntityTooLarge(f"exceeds max_body of {MAX_RECEIVED_BYTES}")

    def _take_end(self, _line: bytes) -> None:
        self._take_line = self._take_size

    def _take_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        self.completed = not line
        if line and (HEADER_FIELD_RE.match(line) is None or self._trailer_bytes > _MAX_TRAILER_BYTES):
            self.error = BadRequest("Invalid trailer")


class Request(HTTPRequestParser):
    """A request as it arrives; refused when a proxy in front could see its end elsewhere.

    Shape: began_at is when its first byte came, monotonic seconds. `adjustments.kept_body_bytes` bounds its body.
    """

    def __init__(self, adjustments: Any) -> None:
        super().__init__(adjustments)
        self.error: Error | None = None
        self.began_at = time.monotonic()
        self._is_unexpected = False

    @property
    def held_bytes(self) -> int:
        """How much memory what has come takes, about."""
        held: int = self.header_bytes_received + min(self.body_bytes_received, self.adj.kept_body_bytes)
        return held

    def received(self, data: bytes) -> int:
        """Take what is of this request, and return how many bytes that is."""
        consumed: int = super().received(data)
        if self._is_unexpected and self.error is None:
            self.error = ExpectationFailed("The server meets no expectation but 100-continue")
            self.completed = True
        if self.completed:
            # waitress would go on waiting for a body after its 100: there is none, or it is not wanted.
            self.expect_continue = False
        return consumed

    def parse_header(self, header_plus: bytes) -> None:
        """Read the header. Errors: ParsingError, and TransferEncodingNotImplemented."""
        if _FOLDED.search(header_plus):
            raise ParsingError("A header is folded over two lines")
        codings = b",".join(_TRANSFER_ENCODING.findall(header_plus)).lower()
        is_coded = _TRANSFER_ENCODING.search(header_plus) is not None
        if is_coded and not all(coding.strip() for coding in codings.split(b",")):
            raise ParsingError("Transfer-Encoding names no coding")
        try:
            super().parse_header(header_plus)
        except ValueError as error:
            # A length of 5,000 digits, or a target that is no URL.
            raise ParsingError("The header can't be read") from error
        if is_coded and not (self.chunked and codings == b"chunked"):
            raise ParsingError("Transfer-Encoding is not chunked once")
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("The body has two lengths")
        body = Body(self.adj.kept_body_bytes)
        if self.chunked:
            self.body_rcv = ChunkedBody(body)
        elif self.content_length:
            self.body_rcv = FixedStreamReceiver(self.content_length, body)
        self._read_expect()

    def _read_expect(self) -> None:
        """Note what the client expects (RFC 9110, 10.1.1); HTTP/1.0 has no such header."""
        members = {member.strip(" \t").lower() for member in self.headers.get("EXPECT", "").split(",")} - {""}
        is_known = self.version == "1.1" and bool(members)
        self._is_unexpected = is_known and members != {"100-continue"}
        self.expect_continue = is_known and not self._is_unexpected
