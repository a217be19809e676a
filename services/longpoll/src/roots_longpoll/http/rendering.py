"""The bytes of answers: status lines and headers, prepared once a second because of the date."""

import time
from email.utils import formatdate
from http import HTTPStatus

import msgspec

from roots.contracts.uids import UID_CHARACTERS
from roots_longpoll.delivery.responses import SharedBody

METHOD_NOT_ALLOWED = 405
ALLOWED_METHODS = "GET, OPTIONS"
PROBLEM_TYPE = b"application/problem+json"
PREFLIGHT_MAX_AGE_SECONDS = 7200

_encode = msgspec.json.Encoder().encode


class Heads:
    """The heads of answers, up to the length of the body, for connections that stay open and for those that end."""

    __slots__ = ("date", "ok", "ok_close")

    def __init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Bring the date up to now."""
        self.date = formatdate(time.time(), usegmt=True).encode()
        common = (
            b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n" % self.date
        )
        self.ok = common + b"Content-Length: "
        self.ok_close = common + b"Connection: close\r\nContent-Length: "

    def begin(self, shared: SharedBody) -> bytes:
        """Return, and leave in `shared.wire`, all that an answer with a shared body has before the uid."""
        length = len(shared.opening) + UID_CHARACTERS + len(shared.closing)
        shared.wire = b"%b%d\r\n\r\n%b" % (self.ok, length, shared.opening)
        return shared.wire


def problem(
    heads: Heads,
    status: int,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    cors: bytes = b"",
    is_last: bool = False,
    has_body: bool = True,
) -> bytes:
    """Return a whole problem+json answer (RFC 9457); without its body it answers a HEAD.

    Shape: cors is header lines that let a page of another origin read it.
    """
    title = HTTPStatus(status).phrase
    body = _encode({"type": "about:blank", "title": title, "status": status, "detail": detail})
    lines = [
        f"HTTP/1.1 {status} {title}",
        f"Date: {heads.date.decode()}",
        f"Content-Type: {PROBLEM_TYPE.decode()}",
        "Cache-Control: no-store",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
        *(["Connection: close"] if is_last else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n" + cors + b"\r\n" + (body if has_body else b"")


def preflight(heads: Heads, cors: bytes) -> bytes:
    """Return the answer to a CORS preflight of an allowed origin; `cors` is that origin's header lines."""
    return (
        b"HTTP/1.1 204 No Content\r\nDate: %b\r\n%bAccess-Control-Allow-Methods: GET\r\n"
        b"Access-Control-Allow-Headers: *\r\nAccess-Control-Max-Age: %d\r\n\r\n"
        % (heads.date, cors, PREFLIGHT_MAX_AGE_SECONDS)
    )


def cors_lines(origin: str) -> bytes:
    """Return the header lines that let pages of `origin` read an answer."""
    return (
        f"Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Expose-Headers: Retry-After\r\nVary: Origin\r\n"
    ).encode()
