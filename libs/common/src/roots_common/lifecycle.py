"""The end of a process: SIGTERM and SIGINT ask it to stop, and it stops in order (unready, drain, close).

A container's first process ignores SIGTERM unless it handles it, and Python's default loses what is in flight.
"""

import asyncio
import signal
import threading
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def wait_for_stop() -> signal.Signals:
    """Block the main thread until a stop signal comes; return it."""
    stopped = threading.Event()
    received = signal.SIGTERM

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal received
        received = signal.Signals(number)
        stopped.set()

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    stopped.wait()
    return received


def stop_event() -> asyncio.Event:
    """Return an event of the running loop that a stop signal sets."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, event.set)
    return event
