"""What processes have used, read from /proc: CPU time to the nanosecond, and resident memory."""

from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_NANOSECONDS = 1e9


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time, user and system, of all threads of `pids` since they began.

    Source: /proc/PID/task/*/schedstat, whose first field is nanoseconds on a processor. Errors: OSError for a process
    that has gone.
    """
    total = 0
    for pid in pids:
        for thread in (_PROC / str(pid) / "task").iterdir():
            total += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total / _NANOSECONDS


def resident_bytes(pids: Iterable[int]) -> int:
    """Return the memory of `pids` that is in RAM. Errors: OSError for a process that has gone."""
    return sum(_resident_bytes(pid) for pid in pids)


def children_of(pid: int) -> list[int]:
    """Return the processes that `pid` started and that still run."""
    text = (_PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def _resident_bytes(pid: int) -> int:
    for line in (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
