"""One connection to NATS as bytes: its lines, and the messages of the subscriptions.

Malformed or oversized input closes the connection, and none of it counts as a message.
Source: the protocol of NATS clients (docs.nats.io, Client Protocol).
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from roots.nats.stored import Stored
from roots.nats.streams import NatsUnavailableError

# A control line names a subject and four numbers; what is longer is no line of NATS.
MAX_LINE_BYTES = 4096
# The line INFO names all servers of a cluster.
MAX_INFO_BYTES = 64 * 1024
# Events have at most 128 KiB, with their headers; this is what a server allows by default, and some headers.
MAX_MESSAGE_BYTES = (1 << 20) + 4096
_MAX_SUBJECTS = 10_000
_MAX_SEQUENCE_DIGITS = 20
# What a message has beside its sizes: its kind, subject and subscription.
_NAMES = 3
_INFO = b"INFO "
_SEQUENCE = b"\r\nNats-Sequence: "
_END = b"\r\n"
_NO_LINE = "NATS sent what is no line of its protocol"
_NO_MESSAGE = "NATS sent what is no message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What is received of one stream.

    Shape: messages on subjects that begin with live_prefix are taken as stored under prefix; of their headers those in
        `headers` are kept. take gets each message, in the order in which it came.
    """

    live_prefix: str
    prefix: str
    headers: Sequence[str]
    take: Callable[[Stored], None]


class Info(msgspec.Struct):
    """What matters of a server's INFO. Shape: nonce is to be signed by a client that has a key."""

    nonce: str = ""


class NatsProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._info: asyncio.Future[Info] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()
        # Why the connection ended.
        self._fault = ""
        self._pongs: list[asyncio.Future[None]] = []
        self._transport: asyncio.Transport | None = None
        self._takers: dict[bytes, _Taker] = {}
        self._rest = b""

    async def info(self) -> Info:
        """Return how the server introduces itself. Errors: NatsUnavailableError."""
        await self._first_of(self._info)
        return self._info.result()

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for messages; until then none is taken, whatever comes. Errors: NatsUnavailableError."""
        lines = b""
        for number, subscription in enumerate(subscriptions, start=1):
            self._takers[b"%d" % number] = _Taker(subscription)
            lines += b"SUB %b> %d\r\n" % (subscription.live_prefix.encode(), number)
        await self.ping(lines)

    async def ping(self, lines: bytes = b"") -> None:
        """Return once the server has handled `lines`. Errors: NatsUnavailableError."""
        pong = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        # In one write: a server that closes at one line resets the connection at the next, and its reason is lost.
        self._send(lines + b"PING\r\n")
        await self._first_of(pong)

    async def stay(self, seconds: float) -> None:
        """Return after so long. Errors: NatsUnavailableError when the connection ends before."""
        await asyncio.wait([self._lost], timeout=seconds)
        if self._lost.done():
            raise NatsUnavailableError(self._fault)

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on over TLS. Errors: OSError; NatsUnavailableError when more than INFO came in the clear."""
        if self._transport is None or self._rest:
            # Somebody between could have sent it.
            raise NatsUnavailableError("NATS sent more than INFO before TLS")
        transport = await asyncio.get_running_loop().start_tls(self._transport, self, context, server_hostname=host)
        self._transport = transport

    def close(self, fault: str = "") -> None:
        """End the connection, without waiting for what was not sent."""
        self._fault = self._fault or fault
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End what waits for an answer."""
        self._fault = self._fault or f"NATS has ended the connection{f': {error}' if error else ''}"
        self._lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take every whole message of what came."""
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while (end := data.find(_END, at)) >= 0:
            start = end + 2
            if not data.startswith((b"HMSG ", b"MSG "), at):
                self._take_line(data[at:end])
                at = start
                continue
            fields = data[at:end].split()
            body, stop = _extent(fields, start)
            taker = self._takers.get(fields[2]) if stop >= start else None
            if taker is None or (stop + 2 <= size and not data.startswith(_END, stop)):
                self.close(_NO_MESSAGE)
                return
            if stop + 2 > size:
                break
            taker.take(fields[1], data[start:body], data[body:stop])
            at = stop + 2
        else:
            if size - at > (MAX_INFO_BYTES if data.startswith(_INFO, at) else MAX_LINE_BYTES):
                self.close(_NO_LINE)
                return
        self._rest = data[at:]

    def _send(self, lines: bytes) -> None:
        if self._transport is not None:
            self._transport.write(lines)

    async def _first_of(self, answer: asyncio.Future[Any]) -> None:
        await asyncio.wait([answer, self._lost], return_when=asyncio.FIRST_COMPLETED)
        if self._fault or not answer.done():
            raise NatsUnavailableError(self._fault)

    def _take_line(self, line: bytes) -> None:
        if line == b"PING":
            self._send(b"PONG\r\n")
        elif line == b"PONG":
            if self._pongs:
                self._pongs.pop(0).set_result(None)
        elif line.startswith(_INFO):
            self._take_info(line)
        elif line.startswith(b"-ERR"):
            # The server ends the connection where it must. A refused subscription would never bring a message.
            self.close(f"NATS said {line.decode('utf-8', 'replace')}")
        elif line != b"+OK":
            self.close(_NO_LINE)

    def _take_info(self, line: bytes) -> None:
        # Another one comes when the servers of a cluster change.
        if not self._info.done():
            try:
                self._info.set_result(msgspec.json.decode(line[len(_INFO) :], type=Info))
            except msgspec.DecodeError:
                self.close(_NO_LINE)


def _extent(fields: list[bytes], start: int) -> tuple[int, int]:
    """Return where the body of a message whose headers begin at `start` begins and ends, -1 when it is no message.

    Shape: fields are HMSG subject sid [reply-to] header-bytes total-bytes, or MSG subject sid [reply-to] bytes.
    """
    has_head = fields[0] == b"HMSG"
    try:
        stop = start + int(fields[-1])
        body = start + int(fields[-2]) if has_head else start
    except ValueError:
        return -1, -1
    is_message = len(fields) - has_head > _NAMES and start <= body <= stop <= start + MAX_MESSAGE_BYTES
    return (body, stop) if is_message else (-1, -1)


class _Taker:
    """Makes stored messages of one subscription's."""

    __slots__ = ("_headers", "_live_bytes", "_prefix", "_subjects", "_take")

    def __init__(self, subscription: Subscription) -> None:
        self._live_bytes = len(subscription.live_prefix)
        self._prefix = subscription.prefix
        self._headers = [(name, b"\r\n%b: " % name.encode()) for name in subscription.headers]
        self._take = subscription.take
        self._subjects: dict[bytes, str] = {}

    def take(self, live_subject: bytes, head: bytes, data: bytes) -> None:
        """Hand on the message that `head` and `data` are; one that is not of a stream is passed over."""
        subject = self._subjects.get(live_subject)
        if subject is None:
            subject = self._prefix + live_subject[self._live_bytes :].decode("utf-8", "replace")
            if len(self._subjects) >= _MAX_SUBJECTS:
                self._subjects.clear()
            self._subjects[live_subject] = subject
        # The server's own header is the last of its name.
        seq = _value(head, head.rfind(_SEQUENCE), len(_SEQUENCE))
        if not seq.isdigit() or len(seq) > _MAX_SEQUENCE_DIGITS:
            return
        headers = {}
        for name, line in self._headers:
            found = head.rfind(line)
            if found >= 0:
                headers[name] = _value(head, found, len(line)).decode("latin-1")
        self._take(Stored(int(seq), subject, headers, data))


def _value(head: bytes, at: int, name_bytes: int) -> bytes:
    """Return the rest of the header line that begins at `at`, nothing when there is none."""
    return head[at + name_bytes : head.find(_END, at + name_bytes)] if at >= 0 else b""
