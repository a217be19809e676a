"""Cursors: the text that clients carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots_longpoll.delivery.cursor import Cursor, base36, parse, render
from roots_longpoll.errors import InvalidCursorError

NUMBERS = st.integers(min_value=0, max_value=2**64 - 1)


@given(epoch=NUMBERS, seq=NUMBERS, grants=NUMBERS)
def test_cursor_survives_when_rendered_and_parsed(epoch: int, seq: int, grants: int) -> None:
    """Every cursor comes back as it went."""
    cursor = Cursor(epoch, seq, grants)
    assert cursor == parse(render(cursor))


@given(number=NUMBERS)
def test_base36_is_what_int_reads_when_given_any_number(number: int) -> None:
    """The digits are those that Python reads, in lower case."""
    text = base36(number)
    assert (number, text.lower()) == (int(text, 36), text)


@pytest.mark.parametrize(
    "text",
    [
        b"", b".", b"..", b"1.2", b"1.2.3.4", b"1..3", b".2.3", b"1.2.", b"1.2.3 ", b" 1.2.3", b"1.2.3\n", b"A.2.3",
        b"1.2.Z", b"-1.2.3", b"+1.2.3", b"1_0.2.3", b"1.2.\xb2", b"1.2.%31", b"1/2/3", b"1,2,3", b"\x00.2.3",
        b"undefined", b"zzzzzzzzzzzzz.1.1", b"1.zzzzzzzzzzzzz.1", b"1.1.3w5e11264sgsg", b"11111111111111.1.1",
    ],
)  # fmt: skip
def test_parse_refuses_when_text_is_no_cursor(text: bytes) -> None:
    """Signs, blanks, capitals, separators of `int`, and numbers over 64 bits are no cursor."""
    with pytest.raises(InvalidCursorError):
        parse(text)


@given(text=st.binary(max_size=50))
def test_parse_gives_a_cursor_or_refuses_when_given_any_bytes(text: bytes) -> None:
    """No input has a third outcome."""
    try:
        cursor = parse(text)
    except InvalidCursorError:
        return
    assert max(cursor) < 2**64
