"""A folder with a small disk of its own, to be filled: a tmpfs, which only root may mount."""

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Final, Self

from roots_devstack.errors import DevstackError

_FILLER: Final = "filler"
_BLOCK = bytes(1 << 16)


class SmallDisk:
    """A context manager that mounts a disk of `size_mib` at `folder`, which is made if need be.

    Errors: DevstackError where this process may not mount.
    """

    def __init__(self, folder: Path, *, size_mib: int) -> None:
        self._folder = folder
        self._size_mib = size_mib

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._size_mib}m,mode=0700", "tmpfs", str(self._folder))
        return self

    def __exit__(self, *_error: object) -> None:
        # Lazily: a process that is about to end may have a file open.
        _run("umount", "--lazy", str(self._folder))

    def fill(self) -> None:
        """Leave no room on the disk; what others have written stays."""
        # Without a buffer of its own, which would have to be written when the file is closed.
        with (self._folder / _FILLER).open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(_BLOCK) > 0:
                pass

    def free(self) -> None:
        """Give back the room that `fill` took."""
        (self._folder / _FILLER).unlink(missing_ok=True)


def why_not_mountable(folder: Path) -> str | None:
    """Return None where a SmallDisk can be mounted in `folder`, else the reason."""
    if os.geteuid() != 0:
        return "only root may mount a file system"
    try:
        with SmallDisk(folder, size_mib=1):
            return None
    except DevstackError as error:
        return str(error)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # nothing from outside
    except OSError as error:
        raise DevstackError(f"{command[0]} can't be run: {error}") from error
    if done.returncode != 0:
        raise DevstackError(f"{command[0]} failed: {done.stderr.strip()}")
