"""Cursors: a client's position, `<epoch>.<seq>.<grants>` in lower-case base 36.

`epoch` is when the event stream was created (milliseconds since 1970), so that a re-created stream is noticed, not
misread; `seq` is the stream sequence considered so far (filtered events count); `grants` is the last
version of the grant record that the client has acknowledged. Source: docs/protocol.md, Delivery.
"""

import re
from typing import Final, NamedTuple

from roots_longpoll.errors import InvalidCursorError

_DIGITS = b"0123456789abcdefghijklmnopqrstuvwxyz"
# 13 digits hold every 64-bit number; int() alone would take signs, blanks, underscores and capitals too.
PATTERN: Final = rb"([0-9a-z]{1,13})\.([0-9a-z]{1,13})\.([0-9a-z]{1,13})"
_CURSOR = re.compile(PATTERN)
_MAX_NUMBER = (1 << 64) - 1


class Cursor(NamedTuple):
    """A parsed cursor; a named tuple, since one is made for each poll."""

    epoch: int
    seq: int
    grants: int


def parse(text: bytes) -> Cursor:
    """Return the cursor that `text` spells. Errors: InvalidCursorError."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise InvalidCursorError
    return from_digits(*match.groups())


def from_digits(epoch: bytes, seq: bytes, grants: bytes) -> Cursor:
    """Return the cursor whose parts match PATTERN. Errors: InvalidCursorError for a number of more than 64 bits."""
    cursor = Cursor(int(epoch, 36), int(seq, 36), int(grants, 36))
    if max(cursor) > _MAX_NUMBER:
        raise InvalidCursorError
    return cursor


def base36(number: int) -> bytes:
    """Return `number` (not negative) in lower-case base 36."""
    if number < len(_DIGITS):
        return _DIGITS[number : number + 1]
    digits = bytearray()
    while number:
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    digits.reverse()
    return bytes(digits)


def render(cursor: Cursor) -> bytes:
    """Return the text of `cursor`; `parse` is its inverse."""
    return b"%b.%b.%b" % (base36(cursor.epoch), base36(cursor.seq), base36(cursor.grants))
