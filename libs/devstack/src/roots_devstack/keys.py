"""The stack's own passwords and keys: made once, kept in one folder that only the owner can read."""

import os
import secrets
from pathlib import Path

_BYTES = 32


class Keys:
    """Random secrets by name, each in a file of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> str:
        """Return the secret `name`; make it when there is none yet.

        Shape: a letter first, as nats.conf needs it, then letters, digits, `-` and `_`: no URL has to quote it.
        """
        path = self._folder / name
        if not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(path, f"k{secrets.token_urlsafe(_BYTES)}")
        return path.read_text(encoding="ascii").strip()

    def _write(self, path: Path, value: str) -> None:
        unfinished = path.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{value}\n")
        unfinished.replace(path)
