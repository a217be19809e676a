"""A newcomer's checkout of Roots, and the terminal in which the newcomer types."""

import contextlib
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec
from tests.testkit.deadlines import clock, stretched

from roots_devstack.home import StackInfo

ROOT = Path(__file__).parents[2]
CTRL_C = b"\x03"
# Everything is downloaded at the first start, on a line that may be slow.
SETUP_SECONDS = 300.0
READY_SECONDS = 60.0
STOP_SECONDS = 15.0
_READY = re.compile(r"^Roots is ready at (\S+)\r?$", re.MULTILINE)


def copy_checkout(folder: Path) -> Path:
    """Copy what a clone of this checkout would have to `folder`, with the changes that are not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607  # as make's git
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=stretched(30),
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # one that was deleted is still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


class Terminal:
    """One command in a terminal of its own: what it writes, Ctrl-C, and its end."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self._keyboard, screen = pty.openpty()
        self._shown = bytearray()
        try:
            self._process = subprocess.Popen(
                # A session of its own with this terminal, whose Ctrl-C then goes to the command's process group.
                ["setsid", "--ctty", *command],  # noqa: S607  # util-linux
                cwd=folder,
                env=dict(env),
                stdin=screen,
                stdout=screen,
                stderr=screen,
            )
        finally:
            os.close(screen)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Kill what is left of the command."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(stretched(STOP_SECONDS))
        self._reading.join(stretched(STOP_SECONDS))
        os.close(self._keyboard)

    @property
    def pid(self) -> int:
        """The command's process id, which is that of its session too."""
        return self._process.pid

    @property
    def text(self) -> str:
        """What was written so far."""
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, pattern: "re.Pattern[str]", seconds: float) -> "re.Match[str]":
        """Return the first match in what is written. Errors: AssertionError, with that, when there is none in time."""
        ends_at = clock() + seconds
        while clock() < ends_at:
            has_ended = not self._reading.is_alive()
            if match := pattern.search(self.text):
                return match
            if has_ended:
                break
            time.sleep(0.05)
        raise AssertionError(self.text)

    def interrupt(self) -> int:
        """Type Ctrl-C, and return the exit status. Errors: AssertionError when it does not end in time."""
        os.write(self._keyboard, CTRL_C)
        return self.wait(STOP_SECONDS)

    def wait(self, seconds: float) -> int:
        """Return the exit status. Errors: AssertionError, with what was written, when it does not end in time."""
        try:
            status = self._process.wait(stretched(seconds))
        except subprocess.TimeoutExpired as error:
            raise AssertionError(self.text) from error
        self._reading.join(stretched(STOP_SECONDS))
        return status

    def _read(self) -> None:
        # The last process that has the terminal open closes it: that is an error of the read, EIO.
        with contextlib.suppress(OSError):
            while block := os.read(self._keyboard, 65536):
                self._shown += block


class Newcomer:
    """Somebody who has cloned Roots and types its commands: with nothing but PATH, HOME and a port in the environment.

    Shape: `prefix` starts a command as that somebody, as setpriv does.
    """

    def __init__(
        self, folder: Path, *, port: int, path: str, home: Path, prefix: Sequence[str] = (), **settings: str
    ) -> None:
        self.folder = folder
        self.env = {"PATH": path, "HOME": str(home), "ROOTS_PORT": str(port), **settings}
        self._port = port
        self._prefix = prefix
        self._running: Terminal | None = None
        self.url = ""

    def open_terminal(self, *command: str) -> Terminal:
        """Start a command in another terminal."""
        return Terminal([*self._prefix, *command], self.folder, self.env)

    def run(self, block: str) -> str:
        """Type a block that starts Roots, and return the address that is printed when it is ready."""
        *before, last = block.strip().splitlines()
        self._running = self.open_terminal("/bin/bash", "-c", "\n".join([*before, f"exec {last}"]))
        address = self._running.wait_for(_READY, SETUP_SECONDS + READY_SECONDS)[1]
        self.url = address.removesuffix("/todos")
        return address

    def interrupt(self) -> int:
        """Type Ctrl-C where Roots runs, and return the exit status that the shell gets."""
        assert self._running is not None
        with self._running as terminal:
            self._running = None
            return terminal.interrupt()

    def move(self, folder: Path) -> None:
        """Move the checkout, in which nothing runs, to another place."""
        folder.parent.mkdir(parents=True)
        self.folder = self.folder.rename(folder)

    def close(self) -> None:
        """End what runs."""
        if self._running is not None:
            with self._running as terminal:
                self._running = None
                terminal.interrupt()

    def stack(self) -> StackInfo:
        """Return what `.roots/stack.json` says."""
        return msgspec.json.decode((self.folder / ".roots" / "stack.json").read_bytes(), type=StackInfo)

    def processes(self) -> dict[int, str]:
        """Return the processes that belong to this checkout: those of stack.json, and whatever runs from its folder."""
        return {pid: command for pid, command in _commands().items() if self._is_ours(pid, command)}

    def _is_ours(self, pid: int, command: str) -> bool:
        places = [command]
        for link in ("cwd", "exe"):
            with contextlib.suppress(OSError):
                places.append(str(Path(f"/proc/{pid}/{link}").readlink()))
        return any(str(self.folder) in place for place in places)


def _commands() -> dict[int, str]:
    """Return the command line of each process of the machine."""
    found: dict[int, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found
