"""The messages that JetStream has stored, and their headers.

A stored message may have any bytes as headers. `headers_of` takes them all, since a message that is lost here would be
missed and asked for without end.
"""

from dataclasses import dataclass
from typing import NamedTuple

SEQUENCE_HEADER = "Nats-Sequence"
SUBJECT_HEADER = "Nats-Subject"
TIME_HEADER = "Nats-Time-Stamp"

_VERSION = "NATS/1.0"


class Stored(NamedTuple):
    """One message of a stream; a named tuple, since one is made for each event.

    Shape: headers has at least those that whoever reads the stream asks for.
    """

    seq: int
    subject: str
    headers: dict[str, str]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages of one subject, ascending; has_more is true when the stream had others after them."""

    messages: list[Stored]
    has_more: bool


def headers_of(block: bytes) -> dict[str, str]:
    """Return the headers of a message by name, the last of each name: the server appends its own.

    Shape: the number of an inline status is the header `Status`, its text `Description`. A line that is no header is
        passed over; bytes that are not ASCII are read as Latin-1.
    """
    first, *lines = block.decode("latin-1").split("\r\n")
    headers = {}
    status, _, description = first.removeprefix(_VERSION).strip().partition(" ")
    if status:
        headers["Status"] = status
        headers["Description"] = description
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return headers
