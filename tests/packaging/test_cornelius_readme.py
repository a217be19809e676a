"""Cornelius's README, typed word by word: its commands and its Django project, against the running system."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from tests.docs.commands import blocks, commands
from tests.testkit.deadlines import stretched

from roots_devstack.stack import Stack

ROOT = Path(__file__).parents[2]
DOCUMENT = "clients/cornelius/README.md"
INSTALL, EXPORTS, BACKEND_COMMANDS, LISTEN = commands("clients/cornelius/README.md")
PYTHON = [block.text for block in blocks(DOCUMENT) if block.language == "python"]
COMMAND_SECONDS = 300

# What a project has that the README says nothing of.
PROJECT = """
ALLOWED_HOSTS = ["testserver"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = ["django.middleware.csrf.CsrfViewMiddleware"]
ROOT_URLCONF = "todos.urls"
SECRET_KEY = "of a test"
"""
VISIT = """
import sys
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.test import Client
from todos.models import Task

with connection.schema_editor() as editor:
    editor.create_model(Task)
page, uid = Client(enforce_csrf_checks=True), sys.argv[1]
answer = page.post(f"/tasks/connect/{uid}", ["tasks", "users/7"], content_type="application/json")
assert answer.json() == {"connected": ["tasks"], "refused": [{"path": "users/7", "reason": "policy"}]}, answer.content
Task.objects.create(description="Buy milk").delete()
assert page.post(f"/tasks/disconnect/{uid}", ["tasks"], content_type="application/json").status_code == 200
call_command("check", fail_level="WARNING", databases=["default"])
"""


def block(part: str) -> str:
    """Return the one Python block that has `part`."""
    (found,) = [text for text in PYTHON if part in text]
    return found


class Shell:
    """A terminal in the folder of a checkout, whose Python has what the README installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setup = ""
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ROOTS_", "PYTHON"))},
            "PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}",
            # Of all that pip would compile, a command needs little.
            "PIP_COMPILE": "no",
        }

    def run(self, text: str, *, setup: bool = True) -> str:
        """Type `text`, and return what is printed. Errors: AssertionError when a command fails."""
        done = subprocess.run(
            ["/bin/bash", "-e", "-c", (self.setup if setup else "") + text],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=stretched(COMMAND_SECONDS),
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def running(self, text: str) -> Iterator["subprocess.Popen[str]"]:
        """Type `text`, whose last command goes on until the context's end; what it prints may be read meanwhile."""
        with subprocess.Popen(
            ["/bin/bash", "-c", f"{self.setup}exec {text}"],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, stack: Stack, home: Path) -> Shell:
    """Return a terminal where the README's installation and its exports were typed, with this system's addresses."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(
        ROOT / "clients" / "cornelius",
        folder / "clients" / "cornelius",
        ignore=shutil.ignore_patterns(".*", "__pycache__", "*.egg-info"),
    )
    shell = Shell(folder)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=stretched(COMMAND_SECONDS))
    shell.run(INSTALL)
    backend_api_url = str(stack.processes["subscriptions"].backend_api_url)
    shell.setup = replaced(EXPORTS, "http://localhost:8004", backend_api_url)
    shell.setup = replaced(shell.setup, "/run/secrets/roots", shlex.quote(str(home / "secrets" / "backend-todos")))
    return shell


def replaced(text: str, printed: str, real: str) -> str:
    """Return `text` with an address of this machine in place of the printed one."""
    assert printed in text
    return text.replace(printed, real)


def first_poll(stack: Stack) -> str:
    """Return the uid of a new client."""
    position: str = urllib3.request("GET", f"{stack.url}/comet/", timeout=stretched(20)).json()["reconnectWith"]
    return position.partition("/")[0]


@pytest.mark.timeout(600)
def test_commands_do_what_they_say_when_they_are_typed(shell: Shell, stack: Stack) -> None:
    """Each prints what the README shows below it: the same members, with this log's positions."""
    uid = first_poll(stack)
    typed = re.split(r"^\$ ", BACKEND_COMMANDS, flags=re.MULTILINE)[1:]
    assert len(typed) >= 8
    for command, _, shown in (part.partition("\n") for part in typed):
        printed = shell.run(command.replace("UID", uid))
        if "explain" in command:
            assert ["tasks"] == [path["path"] for path in json.loads(printed)["hears"]]
        else:
            assert re.sub(r"\d+", "N", shown) == re.sub(r"\d+", "N", printed)


@pytest.mark.timeout(600)
def test_listen_prints_what_is_published_when_it_is_typed(shell: Shell, stack: Stack) -> None:
    """The confirmation, and then each message on a line."""
    command, confirmation, *_ = LISTEN.removeprefix("$ ").splitlines()
    with shell.running(replaced(command, "http://localhost:4020", stack.url)) as listening:
        assert listening.stdout is not None
        assert f"{confirmation}\n" == listening.stdout.readline()
        shell.run("""python -m cornelius publish tasks '{"guid":"/task/1"}'""")
        assert {"path": "tasks", "message": '{"guid":"/task/1"}'} == json.loads(listening.stdout.readline())


@pytest.mark.timeout(600)
def test_listener_in_a_program_prints_what_is_published_when_it_is_run(shell: Shell, stack: Stack) -> None:
    """With a function of the program's own for what was missed."""
    text = replaced(block("with Listener("), "http://localhost:4020", stack.url)
    (shell.folder / "listen.py").write_text(f"read_everything_again = None\n{text}", encoding="utf-8")
    publish = "python -m cornelius publish tasks again"
    with shell.running("python -u listen.py") as listening:
        assert listening.stdout is not None
        # Until it is connected nobody knows when it will be.
        with shell.running(f"bash -c 'while {publish}; do sleep 0.1; done'"):
            assert "tasks again\n" == listening.stdout.readline()


@pytest.mark.timeout(600)
def test_first_lines_connect_and_publish_when_they_are_run(shell: Shell, stack: Stack) -> None:
    """With the uid of a client."""
    text = block('dudley.connect(uid, ["tasks"])  #')
    (shell.folder / "first.py").write_text(f"uid = {first_poll(stack)!r}\n{text}", encoding="utf-8")
    assert "" == shell.run("python first.py")


@pytest.mark.timeout(600)
def test_django_project_publishes_and_connects_when_its_files_are_copied(shell: Shell, stack: Stack) -> None:
    """settings, models, views and urls as they are printed, with what every project has besides."""
    project = shell.folder / "project" / "todos"
    project.mkdir(parents=True)
    for text in PYTHON:
        if match := re.match(r"# (\w+\.py)\n", text):
            (project / match[1]).write_text(text, encoding="utf-8")
    assert {"settings.py", "models.py", "views.py", "urls.py"} == {file.name for file in project.iterdir()}
    urls = (project / "urls.py").read_text(encoding="utf-8")
    settings = replaced((project / "settings.py").read_text(encoding="utf-8"), "[...,", '["todos",')
    settings = replaced(settings, '"http://localhost:8004"', 'os.environ["ROOTS_BACKEND_API_URL"]')
    (project / "settings.py").write_text(settings + PROJECT, encoding="utf-8")
    (project / "urls.py").write_text(urls, encoding="utf-8")
    (project / "__init__.py").touch()
    (shell.folder / "project" / "visit.py").write_text(VISIT, encoding="utf-8")

    with shell.running(f"python -m cornelius listen {stack.url} tasks --count 2") as listening:
        assert listening.stdout is not None
        assert "connected tasks\n" == listening.stdout.readline()
        shell.run(
            'export ROOTS_KEY="$(cat "$ROOTS_BACKEND_API_KEY_FILE")" DJANGO_SETTINGS_MODULE=todos.settings\n'
            f"cd project && python -W error visit.py {first_poll(stack)}"
        )
        told = [json.loads(json.loads(line)["message"]) for line in listening.stdout]
    task = {"guid": "/task/1", "description": "Buy milk"}
    assert [task, {**task, "DELETE": True}] == told
