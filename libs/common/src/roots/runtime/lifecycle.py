"""The end of a process: SIGTERM and SIGINT ask it to stop, and it stops in order (unready, drain, close).

A container's first process ignores SIGTERM unless it handles it, and Python's default loses what is in flight.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def catch_stop() -> Callable[[], signal.Signals]:
    """Note a stop signal from now on, instead of dying of it; return a function that blocks until one has come.

    To be called before anything is started, on the main thread: a process that already answers may receive a signal.
    """
    stopped = threading.Event()
    received = signal.SIGTERM

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received = signal.Signals(number)
        stopped.set()

    def wait() -> signal.Signals:
        stopped.wait()
        return received

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    return wait


def stop_event() -> asyncio.Event:
    """Return an event of the running loop that a stop signal sets."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, event.set)
    return event
