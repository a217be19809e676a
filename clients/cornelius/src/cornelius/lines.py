"""Lines of standard input as messages to publish."""

import codecs
import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from cornelius.errors import LineError
from cornelius.messages import Message

BLOCK_BYTES = 1 << 20
# Both of UTF-32 begin or end like one of these.
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_MARK = "\ufeff"


class Line(NamedTuple):
    """A line of the input, and its number, 1 for the first."""

    number: int
    content: bytes


def read_argument(path: str, text: str) -> Message:
    """Return the message `text` on `path`. Errors: LineError when one of them is not UTF-8."""
    try:
        # As in "$(cat FILE)", where the file begins with a byte order mark.
        return Message(path, text.removeprefix(_MARK))
    except ValueError as error:
        raise LineError(f"the message can't be sent: {error}") from error


def read_blocks(stream: BinaryIO | None) -> Iterator[list[Line]]:
    """Yield the stream's lines, those together that come together: a file fills batches, a slow pipe waits for nothing.

    Empty lines are left out. Errors: LineError when the stream can't be read, is in UTF-16, or has a line that does not
    end in time to be a message.
    """
    rest, number = b"", 0
    while block := _read(stream):
        *contents, rest = (rest + block).split(b"\n")
        if number == 0:
            _check_encoding(contents[0] if contents else rest)
        lines = [Line(number + index, content) for index, content in enumerate(contents, 1)]
        number += len(contents)
        if some := [line for line in lines if not _is_empty(line)]:
            yield some
        if len(rest) > BLOCK_BYTES:
            raise LineError(f"line {number + 1} has more than {BLOCK_BYTES} bytes")
    if not _is_empty(last := Line(number + 1, rest)):
        yield [last]


def read_line(line: Line, path: str | None) -> Message:
    """Return a line's message: all of it on `path`; or, without one, what its JSON says. Errors: LineError.

    A byte order mark is left out, also within the input: several files may have been joined.
    """
    try:
        text = line.content.decode("utf-8-sig").removesuffix("\r")
        if path is not None:
            return Message(path, text)
        members: Any = json.loads(text)
        return Message(**members)
    except (ValueError, TypeError, RecursionError) as error:
        raise LineError(f"line {line.number} is no message: {error}") from error


def _read(stream: BinaryIO | None) -> bytes:
    if stream is None:
        raise LineError("standard input is closed")
    try:
        return os.read(stream.fileno(), BLOCK_BYTES)
    except OSError as error:
        raise LineError(f"standard input can't be read: {error.strerror}") from error


def _check_encoding(start: bytes) -> None:
    if start.startswith(_UTF_16_MARKS):
        raise LineError("standard input is in UTF-16 or UTF-32; convert it to UTF-8")


def _is_empty(line: Line) -> bool:
    return not line.content.removeprefix(codecs.BOM_UTF8).strip()
