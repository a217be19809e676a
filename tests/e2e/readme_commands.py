"""The commands of a README, run as somebody would who copies them."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.testkit.deadlines import stretched

STOP_SECONDS = 20
COMMAND_SECONDS = 300


@contextmanager
def terminal(block: str, folder: Path, env: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run a block in `folder`: all its lines but the last to their end, and the last one until the context's end.

    Errors: AssertionError, with what was said, when a line fails.
    """
    *lines, last = block.strip().splitlines()
    # Of all that pip would compile, a command needs little.
    environment = {**os.environ, "PIP_COMPILE": "no", **env}
    # `exec`, so that the shell leaves nobody behind; `pwd`, since a block may begin with `cd`.
    done = subprocess.run(
        ["/bin/bash", "-e", "-c", "\n".join([*lines, "pwd"])],
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
            ["/bin/bash", "-c", last],
            cwd=done.stdout.splitlines()[-1],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its own group, so that a server's own children end with it.
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(stretched(STOP_SECONDS))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
