"""Why a measurement can't be had."""


class LoadError(Exception):
    """The load could not be put on; the message says why."""


class MissingPeerError(Exception):
    """A peer is not installed; the message says how to install it."""
