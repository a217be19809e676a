"""What may stand in no log and no metric (I10): finds uids, tokens and keys in what processes have written."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from roots.contracts.uids import UID_CHARACTERS, Uids

_TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w-]+")
_LONG = re.compile(rf"[\w-]{{{UID_CHARACTERS},}}", re.ASCII)


class Leaks:
    """Knows what is secret in the system whose state is in `home`: its keys, `more`, every token, and every uid.

    A uid is known by its signature, so that nobody has to keep those that were given out.
    """

    def __init__(self, home: Path, more: Iterable[str] = ()) -> None:
        files = {file.name: file.read_text(encoding="ascii").strip() for file in (home / "secrets").iterdir()}
        self._uids = Uids(files["uid-key"].encode())
        self._secrets = {*files.values(), *more}

    def lines(self, lines: Iterable[str]) -> list[str]:
        """Return the lines that hold a secret."""
        return [line for line in lines if self._is_in(line)]

    def _is_in(self, line: str) -> bool:
        return (
            any(secret in line for secret in self._secrets)
            or _TOKEN.search(line) is not None
            or any(self._uids.is_valid(text) for text in _candidates(line))
        )


def _candidates(line: str) -> Iterator[str]:
    for run in _LONG.findall(line):
        for start in range(len(run) - UID_CHARACTERS + 1):
            yield run[start : start + UID_CHARACTERS]
