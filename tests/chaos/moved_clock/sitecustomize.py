"""Loaded by each Python process of a run before anything else: its wall clock is that of the machine, moved by a file.

The folder ROOTS_TEST_CHAOS_CLOCKS has a file for each admin port, which holds the shift in seconds. Services read the
wall clock by `time.time` alone. The monotonic clock, by which they measure durations, stays.
"""

import os
import struct
import time
from mmap import ACCESS_READ, mmap
from pathlib import Path

SHIFT = struct.Struct("d")


def _move(file: Path) -> None:
    true_time = time.time
    with file.open("rb") as opened:
        shift = mmap(opened.fileno(), SHIFT.size, access=ACCESS_READ)

    def moved_time() -> float:
        return true_time() + float(SHIFT.unpack(shift)[0])

    time.time = moved_time


if "ROOTS_ADMIN_PORT" in os.environ:
    _file = Path(os.environ["ROOTS_TEST_CHAOS_CLOCKS"], os.environ["ROOTS_ADMIN_PORT"])
    if not _file.exists():
        _file.write_bytes(SHIFT.pack(0.0))
    _move(_file)
