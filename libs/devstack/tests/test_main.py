"""`python -m roots_devstack`, as `make run` starts it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
import pytest
from tests.testkit.deadlines import clock, stretched

from roots_devstack.home import StackInfo
from roots_devstack.processes import ports

READY = "Roots is ready at "
STOPPING = "devstack       | stopping"
FAILURE = 1
USAGE = 2
# By default a process that stops is killed when it has not ended after the drain's 3 s and 1 s more.
DEFAULT_STOP_SECONDS = 4.0
ORIGIN = "http://pages.localhost"
UNUSED_SETTINGS = {
    "ROOTS_HTTP_HOST": "192.0.2.1",
    "ROOTS_DATABASE_URL_FILE": "/nowhere",
    "ROOTS_DATABASE_ROLE_FILE": "/nowhere",
    "ROOTS_BACKEND_API_HOST_FILE": "/nowhere",
    "ROOTS_HTTP_PORT_FILE": "/nowhere",
    "ROOTS_NATS_REPLICAS_FILE": "/nowhere",
    "ROOTS_NATS_CREDS": "/nowhere",
    "ROOTS_NATS_LIVE_USER": "nobody",
    "ROOTS_TASKS_UPSTREAM": "192.0.2.1:80",
    "PGHOSTADDR": "192.0.2.1",
    "PGSSLMODE": "require",
    # A terminal that has no character for what a path may say.
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
}


class Application(BaseHTTPRequestHandler):
    """An application of one page."""

    def do_GET(self) -> None:
        """Answer with the page."""
        page = b"The application's page"
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


@contextmanager
def serving(application: ThreadingHTTPServer) -> Iterator[None]:
    """Let the application answer."""
    with application, ThreadPoolExecutor(1) as threads:
        threads.submit(application.serve_forever)
        try:
            yield
        finally:
            application.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedRun:
    """A run that no test stops."""

    home: Path
    pid: int
    address: str


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Return the environment of one run in `home`."""
    return {**os.environ, "ROOTS_HOME": str(home), "ROOTS_PORT": "0", **settings}


@contextmanager
def running(home: Path, **settings: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run the command until it is ready; yield its process and the address of its ready line."""
    env = environment(home, **settings)
    log = home.parent / "run.log"
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen([sys.executable, "-m", "roots_devstack"], env=env, stdout=output) as process,
    ):
        try:
            yield process, line_of(process, log, READY)
        finally:
            process.terminate()


def line_of(process: "subprocess.Popen[bytes]", log: Path, start: str) -> str:
    """Return the line that begins with `start`, without that, once it is written."""
    ends_at = clock() + 60
    while clock() < ends_at and process.poll() is None:
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
        timeout=stretched(60),
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


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedRun]:
    """Yield a run whose user has set what the stack does not use."""
    home = tmp_path_factory.mktemp("shared") / "höme"
    with running(home, **UNUSED_SETTINGS) as (process, address):
        yield SharedRun(home=home, pid=process.pid, address=address)


def test_run_serves_the_page_when_it_says_that_it_is_ready(
    tmp_path: Path, family: Callable[[int], set[int]], wait_until_gone: Callable[[set[int]], set[int]]
) -> None:
    """The ready line's address works; SIGTERM ends with status 0 and leaves no process.

    The folder has a dot, as the default one, and what a checkout may be called.
    """
    home = tmp_path / "a b" / ".c{x}" / ".roots"
    home.mkdir(parents=True)
    with running(home) as (process, address):
        with urlopen(address, timeout=stretched(10)) as page:  # noqa: S310  # our own address
            assert 200 == page.status
        pids = pids_of(home, family)

        process.send_signal(signal.SIGTERM)

        assert 0 == process.wait(timeout=stretched(10))
        assert set() == wait_until_gone(pids)


def test_nothing_is_left_and_it_starts_again_when_the_run_was_killed(
    tmp_path: Path, family: Callable[[int], set[int]], wait_until_gone: Callable[[set[int]], set[int]]
) -> None:
    """After `kill -9` of the supervisor its processes end too, and the next run is not in their way."""
    with running(tmp_path / "home") as (process, _):
        pids = pids_of(tmp_path / "home", family)
        process.kill()
        process.wait(timeout=stretched(10))

        with running(tmp_path / "home") as (_, address):
            assert address.endswith("/todos")
            assert set() == wait_until_gone(pids)


def test_run_stops_at_once_when_asked_twice(tmp_path: Path) -> None:
    """A second Ctrl-C does not wait for a process that does not heed the first."""
    with running(tmp_path / "home") as (process, _):
        os.kill(pid_of(tmp_path / "home", "tasks"), signal.SIGSTOP)
        started = clock()

        process.send_signal(signal.SIGINT)
        line_of(process, tmp_path / "run.log", STOPPING)
        process.send_signal(signal.SIGINT)

        assert 0 == process.wait(timeout=stretched(10))
        assert clock() - started < DEFAULT_STOP_SECONDS


def test_run_names_the_port_when_it_is_taken(tmp_path: Path) -> None:
    """One sentence, status 1, and nothing started."""
    with socket.create_server((ports.HOST, 0)) as listener:
        port = listener.getsockname()[1]

        failure = failed_run(tmp_path, ROOTS_PORT=str(port))

    sentence = f"error: port {port} is taken; set ROOTS_PORT to another one, or to 0 for any that is free\n"
    assert (FAILURE, sentence) == failure


def test_run_names_the_other_one_when_its_folder_is_in_use(shared_run: SharedRun) -> None:
    """Two stacks in one folder would destroy each other's data."""
    failure = failed_run(shared_run.home)

    sentence = (
        f"error: process {shared_run.pid} runs a stack in {shared_run.home} already;"
        " stop it, or set ROOTS_HOME to another folder\n"
    )
    assert (FAILURE, sentence) == failure


def test_run_names_the_setting_when_it_is_wrong(tmp_path: Path) -> None:
    """A wrong setting is told as every process of Roots tells it."""
    status, message = failed_run(tmp_path, ROOTS_LONGPOLL_REPLICAS="none")

    assert USAGE == status
    assert message.startswith("error: ROOTS_LONGPOLL_REPLICAS is wrong")


def test_run_names_the_choices_when_the_number_of_nats_servers_is_wrong(tmp_path: Path) -> None:
    """Two servers are no safer than one, so there are one or three."""
    sentence = "error: ROOTS_NATS_NODES is wrong: it must be one of 1, 3\n"

    assert (USAGE, sentence) == failed_run(tmp_path, ROOTS_NATS_NODES="2")


def stop_with_a_frozen_service(home: Path, process: "subprocess.Popen[bytes]") -> None:
    """Freeze tasks, which then can't end, and ask everything to stop."""
    os.kill(pid_of(home, "tasks"), signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    assert 0 == process.wait(timeout=stretched(30))


def test_run_heeds_the_settings_of_services_when_the_user_has_set_them(tmp_path: Path) -> None:
    """A hold of one second ends after one, a page of the origin may poll, and a drain of six seconds has six."""
    settings = {"ROOTS_HOLD_SECONDS": "1", "ROOTS_CORS_ORIGINS": ORIGIN, "ROOTS_DRAIN_SECONDS": "6"}
    with running(tmp_path / "home", **settings) as (process, address):
        comet = address.replace("/todos", "/comet/")
        with urlopen(comet, timeout=stretched(10)) as answer:  # noqa: S310  # our own address
            cursor = msgspec.json.decode(answer.read())["reconnectWith"]
        started = clock()
        with urlopen(Request(f"{comet}{cursor}", headers={"Origin": ORIGIN}), timeout=stretched(10)) as answer:  # noqa: S310
            assert ORIGIN == answer.headers["Access-Control-Allow-Origin"]
        assert clock() - started < 5

        # Not by the clock of the tests, which a busy machine slows down: nothing may end too soon.
        asked = time.monotonic()
        stop_with_a_frozen_service(tmp_path / "home", process)
        assert time.monotonic() - asked >= 6


def test_run_ends_sooner_when_the_drain_is_shorter(tmp_path: Path) -> None:
    """Nobody waits longer for the end than the drain asks for; it may come from a file, as every setting."""
    (tmp_path / "drain").write_text("0.5\n", encoding="ascii")
    with running(tmp_path / "home", ROOTS_DRAIN_SECONDS_FILE=str(tmp_path / "drain")) as (process, _):
        asked = clock()
        stop_with_a_frozen_service(tmp_path / "home", process)
        assert clock() - asked < DEFAULT_STOP_SECONDS


def test_run_says_which_settings_it_does_not_use_when_it_chooses_them_itself(shared_run: SharedRun) -> None:
    """Hosts, ports and addresses of its own parts are the stack's: other ones would keep a service from starting."""
    with urlopen(shared_run.address, timeout=stretched(10)) as page:  # noqa: S310  # our own address
        assert 200 == page.status
    log = shared_run.home.with_name("run.log").read_text(encoding="ascii")
    (line,) = [line for line in log.splitlines() if "not used" in line]

    assert line.endswith(
        "not used, since the stack chooses them itself: ROOTS_BACKEND_API_HOST_FILE, ROOTS_DATABASE_URL_FILE,"
        " ROOTS_HTTP_HOST, ROOTS_HTTP_PORT_FILE, ROOTS_NATS_CREDS, ROOTS_NATS_LIVE_USER, ROOTS_NATS_REPLICAS_FILE,"
        " ROOTS_TASKS_UPSTREAM"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROOTS_PORT", "abc"),
        ("ROOTS_PORT", ""),
        ("ROOTS_PORT", "70000"),
        ("ROOTS_DRAIN_SECONDS", "x"),
        ("ROOTS_HOME", ""),
    ],
)
def test_run_names_the_variable_when_its_value_is_wrong(tmp_path: Path, name: str, value: str) -> None:
    """One sentence, and nothing is started."""
    status, message = failed_run(tmp_path / "home", **{name: value})

    assert USAGE == status
    assert message.startswith(f"error: {name} is wrong: ")
    assert 1 == message.count("\n")


@pytest.mark.parametrize("value", ["http://127.0.0.1:8000", "8000", "a b:1", "127.0.0.1:8000/app"])
def test_run_says_what_the_address_of_an_application_is_when_it_is_none(tmp_path: Path, value: str) -> None:
    """One sentence with an example, and nothing is started."""
    sentence = "error: ROOTS_APP_UPSTREAM is a host and a port, as 127.0.0.1:8000\n"
    assert (USAGE, sentence) == failed_run(tmp_path / "home", ROOTS_APP_UPSTREAM=value)


@pytest.mark.parametrize("module", ["roots_devstack", "roots_longpoll", "roots_subscriptions", "roots.nats.provision"])
def test_program_starts_nothing_when_it_gets_an_argument(module: str) -> None:
    """A typing error, or a wish for help, must not start a service."""
    command = [sys.executable, "-m", module, "--hlep"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=stretched(60), check=False)
    assert USAGE == done.returncode
    assert done.stderr.endswith(f"python -m {module}: error: unrecognized arguments: --hlep\n")


def test_run_prints_the_address_of_the_application_when_it_has_one(tmp_path: Path) -> None:
    """The gateway passes the application's page on, at the address that is printed."""
    application = ThreadingHTTPServer((ports.HOST, 0), Application)
    with (
        serving(application),
        running(tmp_path / "home", ROOTS_APP_UPSTREAM=f"{ports.HOST}:{application.server_port}") as (_, address),
        urlopen(address, timeout=stretched(10)) as page,  # noqa: S310  # our own address
    ):
        assert b"The application's page" == page.read()


def test_run_says_why_when_its_folder_can_not_be_made(tmp_path: Path) -> None:
    """A disk that can't be written, or a file where the folder should be, is told in one sentence."""
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "home"

    assert (FAILURE, f"error: Not a directory: {place}\n") == failed_run(place)


def test_run_keeps_its_state_in_the_home_when_the_folder_begins_with_a_tilde(tmp_path: Path) -> None:
    """`ROOTS_HOME="~/state"` means what it does in a shell, which leaves it alone between quotes."""
    (tmp_path / "state").touch()

    assert (FAILURE, f"error: File exists: {tmp_path / 'state'}\n") == failed_run(Path("~/state"), HOME=str(tmp_path))
