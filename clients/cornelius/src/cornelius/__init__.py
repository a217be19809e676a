"""Lets a Python program listen to Roots; publishing to it follows."""

from cornelius.errors import AnswerError, CorneliusError, RefusedError
from cornelius.listener import Gap, Listener, Update

__all__ = ["AnswerError", "CorneliusError", "Gap", "Listener", "RefusedError", "Update"]
