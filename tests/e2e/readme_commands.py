"""The commands of an example's README, run as somebody would who copies them."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.testkit.deadlines import stretched

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 20
COMMAND_SECONDS = 300


def copy_example(example: Path, folder: Path, home: Path) -> Path:
    """Copy what an example needs of the repository to `folder`, with a system's state where it would be; return it."""
    ignored = shutil.ignore_patterns(".*", "db.sqlite3", "__pycache__", "node_modules")
    for part in (example, *map(Path, ("clients/cornelius", "clients/pomona", "libs/common", "libs/outbox"))):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (folder / ".roots").symlink_to(home)
    return folder


@contextmanager
def terminal(block: str, folder: Path, env: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run a block in `folder`: all its lines but the last to their end, and the last one until the context's end.

    Yields the process group of the last one. Errors: AssertionError, with what was said, when a line fails.
    """
    *lines, last = block.strip().splitlines()
    # Of all that pip would compile, a command needs little.
    environment = {**os.environ, "PIP_COMPILE": "no", **env}
    # `export` and `pwd`, since a block may set variables and begin with `cd`.
    exported = log.with_suffix(".env")
    done = subprocess.run(
        ["/bin/bash", "-e", "-c", "\n".join([*lines, 'export -p > "$0"', "pwd"]), exported],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=stretched(COMMAND_SECONDS),
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/bash", "-c", f'. "$0"\n{last}', exported],
            cwd=done.stdout.splitlines()[-1],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its own group, so that a server's own children end with it.
            start_new_session=True,
        )
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(stretched(STOP_SECONDS))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
