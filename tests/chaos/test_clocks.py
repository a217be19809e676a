"""The clock of a process that a run may move."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .clocks import Clocks

PROGRAM = """
import sys, time
for _ in sys.stdin:
    print(time.time(), time.monotonic(), flush=True)
"""


@pytest.mark.parametrize("shift", [40.0, -40.0])
def test_wall_clock_alone_is_moved_while_the_process_runs(tmp_path: Path, shift: float) -> None:
    """The process sees the other time at once, and the right one again; durations stay true."""
    clocks = Clocks(tmp_path / "clocks")
    env = {**os.environ, **clocks.env, "ROOTS_ADMIN_PORT": "9999"}
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def skews() -> list[float]:
            """Return how far the wall clock and the monotonic clock of the process are ahead of this one's."""
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            wall, monotonic = process.stdout.readline().split()
            return [float(wall) - time.time(), float(monotonic) - time.monotonic()]

        assert skews() == pytest.approx([0.0, 0.0], abs=5.0)
        clocks.move("http://127.0.0.1:9999", shift)
        assert skews() == pytest.approx([shift, 0.0], abs=5.0)
        clocks.move("http://127.0.0.1:9999", 0.0)
        assert skews() == pytest.approx([0.0, 0.0], abs=5.0)
