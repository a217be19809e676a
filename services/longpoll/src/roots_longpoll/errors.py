"""What can go wrong in longpoll; each error carries data, and the edge that meets it chooses the words."""


class LongpollError(Exception):
    """Base of this service's errors."""


class InvalidCursorError(LongpollError, ValueError):
    """A cursor is not `<epoch>.<seq>.<grants>` in lower-case base 36."""


class ReplayRefusedError(LongpollError):
    """Too many replays wait already; the client should come back later."""
