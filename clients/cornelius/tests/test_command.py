"""`python -m cornelius listen`, as a process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched

from .support import CONNECTED, UID_A, Scripted, ScriptedServer, polled

DEADLINE_SECONDS = 20
NEWS = [
    polled(f"{UID_A}/e.1.0"),
    Scripted(200, CONNECTED),
    polled(f"{UID_A}/e.1.1", ("tasks", "")),
    polled(f"{UID_A}/e.3.1", ("tasks", "ä"), ("tasks", "2"), gaps=[{"path": "tasks", "reason": "expired"}]),
    polled(f"{UID_A}/e.3.2", ("::+::disconnect", "tasks")),
]


def listen(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    command = [sys.executable, "-m", "cornelius", "listen", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=stretched(DEADLINE_SECONDS), check=False)


def test_command_prints_updates_and_ends_when_enough_have_come() -> None:
    """Updates are lines of JSON on standard output; the confirmation and the gap are not among them."""
    with ScriptedServer(NEWS) as server:
        ended = listen(server.url, "tasks", "--count", "2")
    assert 0 == ended.returncode
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [{"path": "tasks", "message": "ä"}, {"path": "tasks", "message": "2"}] == lines
    assert ["connected tasks", "updates of tasks are lost: expired"] == ended.stderr.splitlines()


def test_command_prints_everything_when_told() -> None:
    """`--all` is for tests and for the curious."""
    with ScriptedServer(NEWS) as server:
        ended = listen(server.url, "tasks", "--all", "--count", "4")
    messages = [json.loads(line)["message"] for line in ended.stdout.splitlines()]
    assert (0, ["", "ä", "2", "tasks"]) == (ended.returncode, messages)


@pytest.mark.parametrize(("count", "status"), [([], 0), (["--count", "3"], 1)])
def test_command_ends_when_its_time_is_over(count: list[str], status: int) -> None:
    """Time alone is a way to be done; time before the count is a failure."""
    with ScriptedServer(NEWS) as server:
        ended = listen(server.url, "tasks", "--timeout", "1", *count)
    assert (status, 2) == (ended.returncode, len(ended.stdout.splitlines()))
    assert "disconnected tasks" in ended.stderr


def test_command_says_what_it_waits_for_when_roots_is_away() -> None:
    """On standard error, once for each reason; standard output has messages only."""
    page = Scripted(404, b"<html>")
    with ScriptedServer([page, page, *NEWS[:2], Scripted(502, b"<html>"), *NEWS[2:]]) as server:
        ended = listen(server.url, "tasks", "--count", "2")
    assert (0, 2) == (ended.returncode, len(ended.stdout.splitlines()))
    lines = ["waiting: HTTP 404", "going on", "waiting: HTTP 502", "going on", "connected tasks"]
    assert [*lines, "updates of tasks are lost: expired"] == ended.stderr.splitlines()


def test_command_fails_when_the_path_is_refused() -> None:
    """One line says which."""
    refusal = {"detail": "no", "refused": [{"path": "secret", "reason": "policy"}]}
    with ScriptedServer([NEWS[0], Scripted(403, refusal)]) as server:
        ended = listen(server.url, "secret")
    assert (1, "", "error: refused: secret\n") == (ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["http://localhost"],
        ["localhost:4020", "tasks"],
        ["http://", "tasks"],
        ["http://localhost", "tasks", "--count", "0"],
        ["http://localhost", "tasks", "--header", "no colon"],
        ["http://localhost", "tasks", "--header", "a b: c"],
        ["http://localhost", "tasks", "--header", "@/does/not/exist"],
        ["http://localhost", "tasks", "--timeout", "-1"],
        ["http://localhost", "tasks", "--timeout", "nan"],
    ],
)
def test_command_exits_2_when_it_is_used_wrongly(arguments: list[str]) -> None:
    """The usage is shown, and no traceback."""
    ended = listen(*arguments)
    assert 2 == ended.returncode
    assert ended.stderr.startswith("usage: ")


def test_command_sends_headers_when_they_are_given(tmp_path: Path) -> None:
    """As an argument, or from a file that others can't read."""
    file = tmp_path / "headers"
    file.write_text("Authorization: Bearer T1\n\nX-Team: a:b\n", encoding="utf-8")
    with ScriptedServer(NEWS) as server:
        ended = listen(server.url, "tasks", "--count", "1", "--header", f"@{file}", "--header", "X-More: 1")
        sent = [server.headers[1].get(name) for name in ("Authorization", "X-Team", "X-More")]
    assert (0, ["Bearer T1", "a:b", "1"]) == (ended.returncode, sent)


def test_command_is_silent_when_interrupted() -> None:
    """Ctrl-C is how a person ends it."""
    with ScriptedServer(NEWS) as server:
        command = [sys.executable, "-m", "cornelius", "listen", server.url, "tasks"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            assert "ä" == json.loads(process.stdout.readline())["message"]
            process.send_signal(signal.SIGINT)
            try:
                assert 130 == process.wait(stretched(DEADLINE_SECONDS))
            finally:
                process.kill()


def test_command_shows_no_traceback_when_its_reader_is_gone() -> None:
    """As in `… | head -1`."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with ScriptedServer(NEWS) as server:
        command = [sys.executable, "-m", "cornelius", "listen", server.url, "tasks"]
        ended = subprocess.run(
            command,
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=stretched(DEADLINE_SECONDS),
            check=False,
        )
    os.close(write_end)
    assert 1 == ended.returncode
    assert "Traceback" not in ended.stderr
