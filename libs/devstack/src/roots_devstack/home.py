"""The folder of one stack: its lock, and `stack.json`, which lists the processes and their addresses.

The lock dies with the process that holds it, so a killed stack is in nobody's way.
"""

import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import msgspec

from roots_devstack.errors import DevstackError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class ProcessInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process of a stack. `pid` is None between its death and its restart."""

    name: str
    pid: int | None
    url: str | None
    admin_url: str | None
    backend_api_url: str | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class StackInfo:
    """What `stack.json` holds."""

    url: str
    processes: list[ProcessInfo]


def absolute(home: Path) -> Path:
    """Return the absolute path of a stack's folder.

    Errors: DevstackError when it has a line break or another control character, which PostgreSQL refuses.
    """
    path = home.absolute()
    if _CONTROL.search(str(path)):
        raise DevstackError(f"{str(path)!r} has a control character in its name; set ROOTS_HOME to another folder")
    return path


class Home:
    """A stack's folder, made when it is locked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None

    def lock(self) -> None:
        """Make this process the only one whose stack runs here. Errors: DevstackError, naming the other one."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / "lock").open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid = file.read().strip()
            file.close()
            raise DevstackError(
                f"process {pid} runs a stack in {self.path} already; stop it, or set ROOTS_HOME to another folder"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file

    def unlock(self) -> None:
        """Say that no stack runs here any more."""
        if self._lock is not None:
            (self.path / "stack.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def publish(self, info: StackInfo) -> None:
        """Write `stack.json`; a reader sees the old one or the new one, never a part.

        Only its owner may read it: the database's URL has its password.
        """
        unfinished = self.path / "stack.json.new"
        unfinished.touch(mode=0o600)
        unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n")
        unfinished.replace(self.path / "stack.json")
