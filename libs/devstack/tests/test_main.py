"""`python -m roots_devstack`, as `make run` starts it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import msgspec

from roots_devstack import ports
from roots_devstack.home import StackInfo
from roots_devstack.services import STOP_SECONDS

READY = "Roots is ready at "
STOPPING = "devstack       | stopping"
FAILURE = 1
USAGE = 2


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Return the environment of one run in `home`."""
    return {**os.environ, "ROOTS_HOME": str(home), "ROOTS_PORT": "0", **settings}


@contextmanager
def running(home: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run the command until it is ready; yield its process and the address of its ready line."""
    log = home.parent / "run.log"
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen([sys.executable, "-m", "roots_devstack"], env=environment(home), stdout=output) as process,
    ):
        try:
            yield process, line_of(process, log, READY)
        finally:
            process.terminate()


def line_of(process: "subprocess.Popen[bytes]", log: Path, start: str) -> str:
    """Return the line that begins with `start`, without that, once it is written."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if line.startswith(start):
                return line.removeprefix(start)
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


def failed_run(home: Path, **settings: str) -> tuple[int, str]:
    """Return the exit status and the error message of a run that can't start."""
    done = subprocess.run(
        [sys.executable, "-m", "roots_devstack"],
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def info_of(home: Path) -> StackInfo:
    """Read `stack.json`."""
    return msgspec.json.decode((home / "stack.json").read_bytes(), type=StackInfo)


def pid_of(home: Path, name: str) -> int:
    """Return the id of one process of the stack that runs in `home`."""
    return next(process.pid for process in info_of(home).processes if process.name == name and process.pid)


def pids_of(home: Path, family: Callable[[int], set[int]]) -> set[int]:
    """Return every process of the stack that runs in `home`."""
    return {pid for process in info_of(home).processes if process.pid for pid in family(process.pid)}


def test_run_serves_the_page_when_it_says_that_it_is_ready(
    tmp_path: Path, family: Callable[[int], set[int]], wait_until_gone: Callable[[set[int]], set[int]]
) -> None:
    """The ready line's address works; SIGTERM ends with status 0 and leaves no process.

    The folder has a dot, as the default one, and what a checkout may be called.
    """
    home = tmp_path / "a b" / ".c{x}" / ".roots"
    home.mkdir(parents=True)
    with running(home) as (process, address):
        with urlopen(address, timeout=10) as page:  # noqa: S310  # our own address
            assert 200 == page.status
        pids = pids_of(home, family)

        process.send_signal(signal.SIGTERM)

        assert 0 == process.wait(timeout=10)
        assert set() == wait_until_gone(pids)


def test_nothing_is_left_and_it_starts_again_when_the_run_was_killed(
    tmp_path: Path, family: Callable[[int], set[int]], wait_until_gone: Callable[[set[int]], set[int]]
) -> None:
    """After `kill -9` of the supervisor its processes end too, and the next run is not in their way."""
    with running(tmp_path / "home") as (process, _):
        pids = pids_of(tmp_path / "home", family)
        process.kill()
        process.wait(timeout=10)

        with running(tmp_path / "home") as (_, address):
            assert address.endswith("/todos")
            assert set() == wait_until_gone(pids)


def test_run_stops_at_once_when_asked_twice(tmp_path: Path) -> None:
    """A second Ctrl-C does not wait for a process that does not heed the first."""
    with running(tmp_path / "home") as (process, _):
        os.kill(pid_of(tmp_path / "home", "tasks"), signal.SIGSTOP)
        started = time.monotonic()

        process.send_signal(signal.SIGINT)
        line_of(process, tmp_path / "run.log", STOPPING)
        process.send_signal(signal.SIGINT)

        assert 0 == process.wait(timeout=10)
        assert time.monotonic() - started < STOP_SECONDS


def test_run_names_the_port_when_it_is_taken(tmp_path: Path) -> None:
    """One sentence, status 1, and nothing started."""
    with socket.create_server((ports.HOST, 0)) as listener:
        port = listener.getsockname()[1]

        failure = failed_run(tmp_path, ROOTS_PORT=str(port))

    sentence = f"error: port {port} is taken; set ROOTS_PORT to another one, or to 0 for any that is free\n"
    assert (FAILURE, sentence) == failure


def test_run_names_the_other_one_when_its_folder_is_in_use(tmp_path: Path) -> None:
    """Two stacks in one folder would destroy each other's data."""
    home = tmp_path / "home"
    with running(home) as (process, _):
        failure = failed_run(home)

    sentence = (
        f"error: process {process.pid} runs a stack in {home} already; stop it, or set ROOTS_HOME to another folder\n"
    )
    assert (FAILURE, sentence) == failure


def test_run_names_the_setting_when_it_is_wrong(tmp_path: Path) -> None:
    """A wrong setting is told as every process of Roots tells it."""
    status, message = failed_run(tmp_path, ROOTS_LONGPOLL_REPLICAS="none")

    assert USAGE == status
    assert message.startswith("error: ROOTS_LONGPOLL_REPLICAS is wrong")


def test_run_names_the_choices_when_the_number_of_nats_servers_is_wrong(tmp_path: Path) -> None:
    """Two servers are no safer than one, so there are one or three."""
    sentence = "error: ROOTS_NATS_NODES is wrong: Invalid enum value 2, it is one of 1, 3\n"

    assert (USAGE, sentence) == failed_run(tmp_path, ROOTS_NATS_NODES="2")
