"""Log lines of many processes on one output, each with its process's name in front."""

import contextlib
import sys
import zlib
from io import TextIOWrapper
from typing import TextIO

_NAME_WIDTH = 14
_COLOURS = (31, 32, 33, 34, 35, 36, 91, 92, 93, 94, 95, 96)


class Console:
    """Writes `name | line`; the name is coloured on a terminal only."""

    def __init__(self, output: TextIO = sys.stdout) -> None:
        self._output = output
        if isinstance(output, TextIOWrapper):
            # A terminal of another encoding shows what it has no character for as an escape.
            output.reconfigure(errors="backslashreplace")
        self._is_coloured = output.isatty()

    def __call__(self, name: str, line: str) -> None:
        """Write one line of the process `name`."""
        label = f"{name:<{_NAME_WIDTH}} |"
        if self._is_coloured:
            colour = _COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]
            label = f"\x1b[{colour}m{label}\x1b[0m"
        self.write(f"{label} {line}")

    def write(self, line: str) -> None:
        """Write a line as it is. Who reads may have gone; the stack runs on."""
        with contextlib.suppress(OSError, ValueError):
            print(line, file=self._output, flush=True)
