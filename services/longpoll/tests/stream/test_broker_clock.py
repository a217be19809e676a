"""When NATS stored a message."""

import pytest

from roots_longpoll.stream.sinks import BrokerClock

NOON_NS = 1_258_027_200 * 10**9


@pytest.mark.parametrize(
    ("text", "after_noon_ns"),
    [
        ("2009-11-12T12:00:00Z", 0),
        ("2009-11-12T12:00:00.5Z", 500_000_000),
        ("2009-11-12T12:00:00.000000001Z", 1),
        ("2009-11-12T12:00:01.123456789Z", 1_123_456_789),
    ],
)
def test_time_is_read_when_it_has_any_number_of_digits(text: str, after_noon_ns: int) -> None:
    """Zeros at a fraction's end are left out by the server; the second time is read with the first one's date."""
    clock = BrokerClock()
    assert [NOON_NS + after_noon_ns] * 2 == [clock.read(text), clock.read(text)]


@pytest.mark.parametrize("text", ["", "yesterday", "2009-11-12T12:00:00.xZ", "2009-13-12T12:00:00.5Z", "2009"])
def test_time_is_0_when_it_is_none(text: str) -> None:
    """A header of any content breaks nothing, nor the times after it."""
    clock = BrokerClock()
    assert 0 == clock.read(text)
    assert NOON_NS == clock.read("2009-11-12T12:00:00Z")
