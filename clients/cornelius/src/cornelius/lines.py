"""Lines of standard input as messages to publish."""

import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from cornelius.errors import LineError
from cornelius.messages import Message

BLOCK_BYTES = 1 << 20


def read_argument(path: str, text: str) -> Message:
    """Return the message `text` on `path`. Errors: LineError when one of them is not UTF-8."""
    try:
        return Message(path, text)
    except ValueError as error:
        raise LineError(f"the message can't be sent: {error}") from error


def read_blocks(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the stream's lines, those together that come together: a file fills batches, a slow pipe waits for nothing.

    Empty lines are left out. Errors: LineError when a line does not end in time to be a message.
    """
    rest = b""
    while block := os.read(stream.fileno(), BLOCK_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > BLOCK_BYTES:
            raise LineError(f"a line has more than {BLOCK_BYTES} bytes")
        if lines := [line for line in lines if line.strip()]:
            yield lines
    if rest.strip():
        yield [rest]


def read_line(line: bytes, path: str | None) -> Message:
    """Return a line's message: all of it on `path`; or, without one, what its JSON says. Errors: LineError."""
    try:
        text = line.decode().removesuffix("\r")
        if path is not None:
            return Message(path, text)
        members: Any = json.loads(text)
        return Message(**members)
    except (ValueError, TypeError) as error:
        raise LineError(f"a line is no message: {error}") from error
