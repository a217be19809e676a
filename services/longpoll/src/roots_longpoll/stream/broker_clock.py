"""The times at which NATS stored messages, from their headers.

Read for every event, so the date, which stays the same for a second, is worked out once.
"""

from datetime import datetime

STORED_HEADER = "Nats-Time-Stamp"

_SECOND_CHARACTERS = 19
_FRACTION_DIGITS = 9


class BrokerClock:
    """Reads times like 2009-11-10T23:00:00.25Z: UTC, a fraction of up to nine digits or none."""

    def __init__(self) -> None:
        self._second = ""
        self._second_ns = 0

    def read(self, text: str) -> int:
        """Return `text` as nanoseconds since 1970, 0 when it is no such time."""
        second, fraction = text[:_SECOND_CHARACTERS], text[_SECOND_CHARACTERS + 1 : -1]
        try:
            if second != self._second:
                self._second_ns = int(datetime.fromisoformat(f"{second}+00:00").timestamp()) * 10**_FRACTION_DIGITS
                self._second = second
            return self._second_ns + int(fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
        except ValueError:
            return 0
