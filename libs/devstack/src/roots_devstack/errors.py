"""What can go wrong while a stack is started: every message is one sentence for the person who started it."""


class DevstackError(Exception):
    """The stack, or one part of it, can't run here; the message says why and what helps."""
