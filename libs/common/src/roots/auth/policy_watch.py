"""Keeps the policy as the file has it: read again when it or a file that it names changes, and on SIGHUP.

A wrong new file changes nothing: the old policy is kept, the log and `/readyz` say why, and a metric shows it. Contents
are compared, not times, since a Kubernetes ConfigMap changes by a symbolic link and keeps its files' times. A change is
taken in when it looks the same twice, so that a file which is still being written withdraws nothing.
"""

import hashlib
import signal
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

from roots.auth.policy_file import MAX_FILE_BYTES, PolicyError, parse_toml, read_text
from roots.http.health import Check
from roots.http.web import Problem
from roots.runtime import logs

LOOK_INTERVAL_SECONDS = 0.5
# Somebody has to correct the file first.
RETRY_AFTER_SECONDS = 10

T = TypeVar("T")
log = logs.get(__name__)


class PolicyRefused(Problem):
    """The request names what the policy in force lacks, while a newer file, which may have it, can't be used."""

    def __init__(self) -> None:
        detail = "The policy is refused: its file is wrong, and the one before it does not know who or what this is."
        super().__init__(503, detail, retry_after_seconds=RETRY_AFTER_SECONDS)


class PolicyWatch(Generic[T]):
    """The policy of `file` as `parse` reads it, which gets the text and the folder of the file.

    Errors: PolicyError from the constructor, when the file is wrong at the start.
    """

    def __init__(
        self, file: Path, parse: Callable[[str, Path], T], *, name: str, service: str, registry: CollectorRegistry
    ) -> None:
        self._file = file
        self._parse = parse
        self._name = name
        self._problem = ""
        self._listeners: list[Callable[[T], None]] = []
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="policy", daemon=True)
        self._reads = Counter(
            f"roots_{service}_policy_reads_total",
            "Readings of a changed policy file, by result: applied, or refused since it is wrong.",
            ("result",),
            registry=registry,
        )
        for result in ("applied", "refused"):
            self._reads.labels(result)
        self._is_wrong = Gauge(
            f"roots_{service}_policy_file_invalid",
            "1 while the policy file is wrong, and the policy before it is kept.",
            registry=registry,
        )
        # Before it is read: a change between the two is seen at the next look.
        self._digest = self._seen = _digest(file)
        self._current = self._read()

    @property
    def current(self) -> T:
        """The newest policy that could be read."""
        return self._current

    @property
    def is_refused(self) -> bool:
        """Whether the file is wrong now, so that an older policy is in force."""
        return bool(self._problem)

    def on_change(self, listener: Callable[[T], None]) -> None:
        """Give each new policy to `listener`, on the watching thread, once it is `current`."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Watch the file until `stop`."""
        self._thread.start()

    def catch_hangup(self) -> None:
        """Read the file again on SIGHUP, changed or not. To be called on the main thread."""

        def hang_up(_number: int, _frame: FrameType | None) -> None:
            self._wake.set()

        signal.signal(signal.SIGHUP, hang_up)

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        self._wake.set()

    def check(self) -> Check:
        """Report the policy in force; an invalid file is reported, but does not make the service unready."""
        return Check(is_ok=True, detail=self._problem or f"from {self._name}")

    def look(self, *, is_hangup: bool = False) -> None:
        """Take in the file when it has changed and was the same at the look before, or at once when hung up."""
        before, self._seen = self._seen, _digest(self._file)
        if is_hangup or (self._seen == before and self._seen != self._digest):
            self._digest = self._seen
            self._try_to_take_in()

    def _run(self) -> None:
        while not self._stopped.is_set():
            is_hangup = self._wake.wait(LOOK_INTERVAL_SECONDS)
            if is_hangup:
                # Only then: a hangup that comes just after a timeout belongs to the next look.
                self._wake.clear()
            if not self._stopped.is_set():
                self.look(is_hangup=is_hangup)

    def _try_to_take_in(self) -> None:
        try:
            self._take_in()
        except Exception:  # a supervising loop: the next change of the file may be the remedy
            log.exception("policy_not_taken_in")

    def _take_in(self) -> None:
        try:
            policy = self._read()
        except PolicyError as error:
            self._problem = f"the policy before is kept, since {self._name} is wrong: {error}"
            self._is_wrong.set(1)
            self._reads.labels("refused").inc()
            log.warning("policy_refused", line=error.line, place=error.place, problem=error.problem)
            return
        self._current = policy
        self._problem = ""
        self._is_wrong.set(0)
        self._reads.labels("applied").inc()
        log.info("policy_applied")
        for listener in self._listeners:
            listener(policy)

    def _read(self) -> T:
        return self._parse(read_text(self._file), self._file.parent)


def _digest(file: Path) -> bytes:
    """Return what distinguishes two policies: the contents of its file and of the files that it names."""
    policy = _content(file)
    digest = hashlib.sha256()
    for content in [policy, *(_content(file.parent / name) for name in _named_files(policy))]:
        digest.update(f"{len(content)}:".encode() + content)
    return digest.digest()


def _content(file: Path) -> bytes:
    """Return what is in `file`, or why it can't be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return type(error).__name__.encode()


# A long policy is not parsed at each look.
@lru_cache(maxsize=2)
def _named_files(policy: bytes) -> list[str]:
    try:
        return _file_names(parse_toml(policy.decode()))
    except (PolicyError, UnicodeDecodeError):
        return []


def _file_names(value: Any) -> list[str]:
    """Return what the keys name that end in `_file`, wherever they are."""
    if isinstance(value, list):
        return [name for item in value for name in _file_names(item)]
    if not isinstance(value, dict):
        return []
    names = [item for key, item in value.items() if key.endswith("_file") and isinstance(item, str)]
    return names + [name for item in value.values() for name in _file_names(item)]
