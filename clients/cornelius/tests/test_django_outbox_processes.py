"""`manage.py roots_relay` as a process, and what is left when one is killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, wait_until

from roots_devstack.processes import ports, probes
from roots_devstack.processes.environment import bare

from .django_project import Task
from .relays import is_empty, received, waiting
from .support import Log, Request, Scripted, ScriptedServer

SITE = Path(__file__).with_name("outbox_site.py")


def environment(using: str, **variables: str) -> dict[str, str]:
    """Return what the project's processes are started with."""
    options = {
        name: connections.settings[using][name] for name in ("ENGINE", "NAME", "HOST", "PORT", "USER", "PASSWORD")
    }
    return bare({"SITE_DATABASE": json.dumps(options), "PYTHONWARNINGS": "error", **variables})


def manage(using: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the project to its end."""
    command = [sys.executable, str(SITE), *arguments]
    env = environment(using, **variables)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=stretched(60))


@contextmanager
def relay(using: str, server: ScriptedServer, log: Path) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    """Run a relay meanwhile, which ends well unless it was killed; yield it with the port of its checks."""
    port = ports.reserve()
    env = environment(using, ROOTS_BACKEND_API_URL=server.url, ROOTS_ADMIN_PORT=str(port))
    with log.open("wb") as lines:
        process = subprocess.Popen([sys.executable, str(SITE), "roots_relay"], env=env, stdout=lines, stderr=lines)
    try:
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(stretched(30)) in (0, -signal.SIGKILL), log.read_text(encoding="utf-8")


def test_commit_is_received_when_every_process_was_killed(using: str, tmp_path: Path) -> None:
    """I11: the application dies between commit and publish, then the relay between publish and delete."""
    assert -signal.SIGKILL == manage(using, "write-and-die").returncode
    assert 4 == waiting(using)
    stored = Log()
    server: ScriptedServer

    def store_and_kill(request: Request) -> Scripted:
        os.kill(process.pid, signal.SIGKILL)
        return stored.store_and_die(request)

    with ScriptedServer([store_and_kill, *[stored.publish] * 100]) as server:
        with relay(using, server, tmp_path / "killed.log") as (process, _):
            wait_until(lambda: process.poll() is not None, 60.0)
        assert waiting(using) > 0
        with relay(using, server, tmp_path / "relay.log"):
            wait_until(is_empty(using), 60.0)
    states = [(item["description"], item.get("DELETE", False)) for item in received(stored)]
    assert [("0", True), ("1", False), ("2", False)] == sorted(states)
    assert ["1", "2"] == [task.description for task in Task.objects.using(using).order_by("pk")]


@pytest.mark.parametrize("migrated", ["sqlite", "postgres"], indirect=True)
def test_relay_is_ready_when_it_publishes(using: str, tmp_path: Path, background: LoopThread) -> None:
    """The checks and the metrics are those of every relay, and the other options look into the outbox."""
    stored = Log()
    with ScriptedServer([stored.publish] * 100) as server, relay(using, server, tmp_path / "relay.log") as (_, port):

        def get(path: str) -> Any:
            answer = background.run(probes.get(f"http://127.0.0.1:{port}{path}"))
            return answer if answer is not None and answer.status == 200 else None

        wait_until(lambda: get("/readyz"), 60.0)
        assert get("/livez")
        checks = get("/readyz").body.decode()
        for name in ("outbox", "publish", "postgres" if using == "postgres" else "database"):
            assert f'"{name}"' in checks
        assert b"roots_outbox_relay_is_leader 1.0" in get("/metrics").body
    assert {"waiting": 0, "oldest_seconds": 0.0, "refused": 0} == json.loads(
        manage(using, "roots_relay", "--status").stdout
    )
    assert "0 events go out again\n" == manage(using, "roots_relay", "--retry").stdout


@pytest.mark.parametrize("migrated", ["sqlite"], indirect=True)
def test_command_says_what_is_missing_when_it_can_not_run(using: str, tmp_path: Path) -> None:
    """One sentence each: the setting, the tables, the package."""
    assert 'set CORNELIUS = {"outbox": True}' in manage(using, "roots_relay", SITE_OUTBOX="off").stderr
    connections.settings[using]["NAME"], name = str(tmp_path / "empty.sqlite3"), connections.settings[using]["NAME"]
    try:
        assert "no such table" in manage(using, "roots_relay", "--status").stderr
    finally:
        connections.settings[using]["NAME"] = name
    (tmp_path / "roots_outbox.py").write_text("raise ModuleNotFoundError(name='roots_outbox')", encoding="utf-8")
    done = manage(using, "roots_relay", PYTHONPATH=str(tmp_path))
    assert "CommandError: the relay lacks roots_outbox; install cornelius[django,outbox]\n" == done.stderr


@pytest.mark.parametrize("app", ["cornelius", "cornelius.django"])
@pytest.mark.parametrize("migrated", ["sqlite", "postgres"], indirect=True)
def test_migrations_are_complete_when_the_app_has_either_name(using: str, app: str) -> None:
    """The tables are those of the models, and again is fine; in PostgreSQL there is the schema besides."""
    assert 0 == manage(using, "makemigrations", "--check", "cornelius", SITE_APP=app).returncode
    assert 0 == manage(using, "migrate", SITE_APP=app).returncode
    assert "[]" == manage(using, "dumpdata", SITE_APP=app).stdout.strip()
