"""The wall clocks of the Python processes of a run, each of which can be moved alone."""

from pathlib import Path
from urllib.parse import urlsplit

from .moved_clock.sitecustomize import SHIFT

_PROGRAM = Path(__file__).parent / "moved_clock"


class Clocks:
    """The shifts, in files of `folder`, each named by the admin port of its process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    @property
    def env(self) -> dict[str, str]:
        """What a process has to be started with, so that its clock can be moved."""
        return {"PYTHONPATH": str(_PROGRAM), "ROOTS_TEST_CHAOS_CLOCKS": str(self._folder)}

    def move(self, admin_url: str, shift_seconds: float) -> None:
        """Set a process's clock ahead of the machine's; back, when it is negative; right again, when it is 0."""
        # Written in place: the process has mapped the file.
        with (self._folder / str(urlsplit(admin_url).port)).open("r+b") as file:
            file.write(SHIFT.pack(shift_seconds))
