"""`python -m cornelius publish`, `explain`, `connect` and `disconnect`, as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched

from .support import CUT, GRANTED, SUCCESS, UID_A, Log, Scripted, ScriptedServer, problem

DEADLINE_SECONDS = 20
KEY = "k-of-todos"


def run(*arguments: str, url: str = "", standard_input: str | bytes = "") -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, with the back-end API in its environment."""
    content = standard_input.encode() if isinstance(standard_input, str) else standard_input
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROOTS_")}
    ended = subprocess.run(
        [sys.executable, "-m", "cornelius", *arguments],
        input=content,
        env={**environment, "ROOTS_BACKEND_API_URL": url, "ROOTS_BACKEND_API_KEY": KEY},
        capture_output=True,
        timeout=stretched(DEADLINE_SECONDS),
        check=False,
    )
    return subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def test_publish_prints_the_position_when_the_message_is_given() -> None:
    """One message, from the command line."""
    log = Log()
    with ScriptedServer([log.publish]) as server:
        ended = run("publish", "tasks", "ä", url=server.url)
    assert (0, '{"path": "tasks", "seq": 1}\n', "") == (ended.returncode, ended.stdout, ended.stderr)
    assert ["ä"] == log.messages
    assert f"Bearer {KEY}" == server.headers[0]["Authorization"]


def test_publish_sends_each_line_when_there_is_no_message() -> None:
    """Empty lines are none; the last one needs no end."""
    log = Log()
    with ScriptedServer([log.publish] * 3) as server:
        ended = run("publish", "tasks", url=server.url, standard_input="1\n\n2\r\n3")
    assert 0 == ended.returncode
    assert ["1", "2", "3"] == log.messages
    assert 3 == len(ended.stdout.splitlines())


def test_publish_takes_what_listen_prints_when_there_is_no_path() -> None:
    """So one Roots can feed another; a line's own id makes a second run harmless."""
    log = Log()
    lines = "".join(json.dumps({"path": "a", "message": str(number), "id": str(number)}) + "\n" for number in range(3))
    with ScriptedServer([log.publish] * 2) as server:
        for _ in range(2):
            assert 0 == run("publish", url=server.url, standard_input=lines).returncode
    assert ["0", "1", "2"] == log.messages


def test_publish_sends_few_requests_when_there_are_many_lines() -> None:
    """A pipe's content goes together, a thousand in a request."""
    log = Log()
    with ScriptedServer([log.publish] * 100) as server:
        ended = run("publish", "tasks", url=server.url, standard_input="".join(f"{n}\n" for n in range(5000)))
    assert 0 == ended.returncode
    assert [str(number) for number in range(5000)] == log.messages
    assert len(server.requests) < 20


def test_publish_names_what_is_refused_when_the_api_refuses_some() -> None:
    """The others are published; the exit status says that not all were."""
    log = Log()
    refusal = problem(422, errors=[{"index": 0, "field": "path", "detail": "no"}])
    lines = '{"path": "a b", "message": "1"}\n{"path": "a", "message": "2"}\n'
    with ScriptedServer([refusal, log.publish]) as server:
        ended = run("publish", url=server.url, standard_input=lines)
    assert (1, "error: not published on 'a b': path: no\n") == (ended.returncode, ended.stderr)
    assert ["2"] == log.messages


@pytest.mark.parametrize(
    "line", ["no json", "[]", "1", '{"path": "a"}', '{"path": "a", "message": {}}', '{"path":"a","message":"\\ud800"}']
)
def test_publish_fails_when_a_line_is_no_message(line: str) -> None:
    """One sentence, no traceback, and no part of the line, which may be secret."""
    with ScriptedServer([]) as server:
        ended = run("publish", url=server.url, standard_input=f"{line}\n")
    assert 1 == ended.returncode
    assert ended.stderr.startswith("error: line 1 is no message: ")
    assert 1 == len(ended.stderr.splitlines())


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("standard_input", "messages"),
    [
        (MARK + b'{"guid":"/task/1"}\n', ['{"guid":"/task/1"}']),
        (MARK + b"1\r\n2\r\n", ["1", "2"]),
        (MARK + b"1\n" + MARK + b"2\n", ["1", "2"]),
        (MARK, []),
        (MARK + b"\r\n\r\n" + MARK + b"\n3", ["3"]),
        (b"1\xef\xbb\xbf2\n", ["1\ufeff2"]),
    ],
)
def test_publish_leaves_marks_and_line_ends_out_when_another_system_wrote_the_lines(
    standard_input: bytes, messages: list[str]
) -> None:
    """A byte order mark at the start of a file is none of its text, also when files are joined."""
    log = Log()
    with ScriptedServer([log.publish] * 3) as server:
        ended = run("publish", "tasks", url=server.url, standard_input=standard_input)
    assert (0, "") == (ended.returncode, ended.stderr)
    assert messages == log.messages


def test_publish_leaves_marks_out_when_lines_are_json_or_the_message_is_an_argument() -> None:
    """As `cat FILE` writes them."""
    log = Log()
    with ScriptedServer([log.publish] * 2) as server:
        lines = MARK + b'{"path": "tasks", "message": "1"}\r\n'
        assert 0 == run("publish", url=server.url, standard_input=lines).returncode
        assert 0 == run("publish", "tasks", "\ufeff2", url=server.url).returncode
    assert ["1", "2"] == log.messages


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
def test_publish_says_what_to_do_when_the_lines_are_in_another_encoding(encoding: str) -> None:
    """As some shells write a file; nothing of it is published."""
    content = ("" if encoding in ("utf-16", "utf-32") else "\ufeff") + "1\n2\n"
    with ScriptedServer([]) as server:
        ended = run("publish", "tasks", url=server.url, standard_input=content.encode(encoding))
    error = "error: standard input is in UTF-16 or UTF-32; convert it to UTF-8\n"
    assert (1, "", error) == (ended.returncode, ended.stdout, ended.stderr)


def test_publish_names_the_line_when_it_is_not_utf_8() -> None:
    """One sentence; the lines before it are published, and those behind it are not."""
    log = Log()
    with ScriptedServer([log.publish]) as server:
        ended = run("publish", "tasks", url=server.url, standard_input=b"1\n\n3\nsch\xf6n\n5\n")
    assert ["1", "3"] == log.messages
    assert (1, 2) == (ended.returncode, len(ended.stdout.splitlines()))
    assert ended.stderr.startswith("error: line 4 is no message: 'utf-8' codec can't decode")
    assert 1 == len(ended.stderr.splitlines())


def test_publish_names_the_line_when_it_is_too_long() -> None:
    """In the second block that is read, too."""
    log = Log()
    with ScriptedServer([log.publish] * 10) as server:
        ended = run("publish", "tasks", url=server.url, standard_input=b"1\n2\n" + b"x" * (3 << 20))
    assert (1, "error: line 3 has more than 1048576 bytes\n") == (ended.returncode, ended.stderr)
    assert ["1", "2"] == log.messages


@pytest.mark.parametrize(
    ("redirection", "error"),
    [("<&-", "standard input is closed"), ("0>/dev/null", "standard input can't be read: Bad file descriptor")],
)
def test_publish_says_what_is_wrong_when_there_is_no_input(redirection: str, error: str) -> None:
    """One sentence, no traceback."""
    command = f'"$0" -m cornelius publish tasks {redirection}'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        capture_output=True,
        text=True,
        timeout=stretched(DEADLINE_SECONDS),
        check=False,
    )
    assert (1, f"error: {error}\n") == (ended.returncode, ended.stderr)


def test_commands_say_what_failed_when_the_api_is_not_there() -> None:
    """In the time that they were given."""
    with ScriptedServer([]) as server:
        url = server.url
    for command in (["publish", "a", "b"], ["explain", UID_A], ["connect", UID_A, "a"], ["disconnect", UID_A, "a"]):
        ended = run(*command, "--timeout", "2", url=url)
        assert (1, "") == (ended.returncode, ended.stdout)
        assert "error: the time is over; the last try: no connection\n" == ended.stderr


def test_explain_prints_json_when_the_api_answers() -> None:
    """For a person, and for jq."""
    with ScriptedServer([Scripted(200, {"paths": {"tasks": {"from": 1}}})]) as server:
        ended = run("explain", UID_A, "--path", "tasks", url=server.url)
    assert {"paths": {"tasks": {"from": 1}}} == json.loads(ended.stdout)
    assert f"/v1/clients/{UID_A}?path=tasks" == server.requests[0].path


def test_connect_and_disconnect_are_silent_when_done() -> None:
    """As a command that has nothing to say."""
    with ScriptedServer([GRANTED, CUT, SUCCESS, problem(422)]) as server:
        for command in ("connect", "disconnect"):
            ended = run(command, UID_A, "tasks", "news", url=server.url)
            assert (0, "", "") == (ended.returncode, ended.stdout, ended.stderr)
        assert 1 == run("connect", UID_A, "a b", url=server.url).returncode


def test_commands_take_the_api_and_key_from_options_when_given(tmp_path: Path) -> None:
    """The key from a file, never from the command line."""
    file = tmp_path / "key"
    file.write_text("another\r\n", encoding="utf-8-sig")
    with ScriptedServer([Log().publish]) as server:
        ended = run("publish", "a", "b", "--backend-api", server.url, "--key-file", str(file), url="http://127.0.0.1:1")
    assert 0 == ended.returncode
    assert "Bearer another" == server.headers[0]["Authorization"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["publish", "a", "b", "--key-file", "/does/not/exist"],
            "error: the key's file '/does/not/exist' can't be read\n",
        ),
        (["explain"], "usage: "),
        (["connect", UID_A], "usage: "),
        (["publish", "a", "b", "--backend-api", "localhost:8004"], "usage: "),
        (["publish", "a", "b", "--timeout", "0"], "usage: "),
    ],
)
def test_commands_exit_2_when_they_are_used_wrongly(arguments: list[str], complaint: str) -> None:
    """As the usage tells."""
    ended = run(*arguments)
    assert 2 == ended.returncode
    assert ended.stderr.startswith(complaint)


def test_commands_exit_2_when_the_environment_is_wrong() -> None:
    """The variable is wrong, not the back-end API."""
    ended = run("publish", "a", "b", url="nonsense")
    assert (2, "error: 'nonsense' is no http or https URL\n") == (ended.returncode, ended.stderr)
