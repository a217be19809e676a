"""`serve` as a process: real sockets, a Postgres that comes and goes, and the end of a process."""

import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import urllib3
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, wait_until
from tests.testkit.diskless import diskless

from roots_devstack.processes import ports
from roots_devstack.servers.postgres import ROLE, Postgres
from roots_tasks.storage import migrate

from .support import Command, Sql


def test_api_serves_over_http_when_ready(serve: Command) -> None:
    """The API answers real requests as the contract says, Location relative, and counts them by route."""
    created = serve.request("POST", "/tasks", {"description": "buy milk"})
    assert (created.status, created.headers["Location"]) == (201, "/task/1")
    assert serve.request("GET", "/tasks").json() == {"content": [created.json()["content"]]}
    assert serve.request("DELETE", "/task/1").status == 204
    route = 'roots_tasks_http_requests_total{method="POST",route="/tasks",status="201"}'
    assert serve.metric(route) == 1
    assert serve.metric('roots_tasks_changes_total{change="created"}') == 1
    assert serve.metric('roots_tasks_database_connections{state="idle"}') >= 1
    assert serve.metric("roots_tasks_http_queue_requests") == 0


def test_body_is_refused_with_an_answer_when_it_is_huge(serve: Command) -> None:
    """A body over the limit is a 413 that the client gets to read, chunked or not."""
    body = b'{"description":"' + b"x" * (2 << 20) + b'"}'
    url = f"http://127.0.0.1:{serve.port}/tasks"
    for data in (body, iter([body[: 1 << 20], body[1 << 20 :]])):
        answer = serve.http.request("POST", url, body=data)
        assert (answer.status, answer.json()["field"]) == (413, "body")


def test_largest_list_is_answered_when_there_is_no_temporary_folder(database_url: str, db: Sql, tmp_path: Path) -> None:
    """A read-only container without a /tmp gives what is promised, also to many who do not read it yet."""
    db.rows(b"INSERT INTO task (description, is_done) SELECT repeat(chr(1), 2000), false FROM generate_series(1, 100)")
    with Command("serve", tmp_path, ROOTS_DATABASE_URL=database_url, **diskless(tmp_path)) as serve:
        wait_until(serve.is_ready)
        with ExitStack() as open_:
            for _ in range(40):
                reader = open_.enter_context(socket.create_connection(("127.0.0.1", serve.port)))
                reader.sendall(b"GET /tasks HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
            answer = serve.request("GET", "/tasks")
            assert (200, 43) == (answer.status, len(answer.json()["content"]))


def test_readiness_tells_how_long_an_event_waits_when_no_relay_runs(serve: Command, db: Sql) -> None:
    """An old outbox is told, but the API stays ready: it can do without the relay."""
    columns = b"(path, ordering_key, message, committed_at)"
    db.rows(b"INSERT INTO outbox " + columns + b" VALUES ('tasks', 1, 'x', now() - interval '1 minute')")
    wait_until(lambda: serve.check("outbox")[1].endswith("is the relay running?"))
    assert serve.is_ready()


def test_key_gets_the_first_answer_when_the_service_was_restarted(database_url: str, tmp_path: Path) -> None:
    """A retry reaches a new process and gets the first answer."""
    answers = []
    for _ in range(2):
        with Command("serve", tmp_path, ROOTS_DATABASE_URL=database_url) as command:
            wait_until(command.is_ready)
            answers.append(command.request("POST", "/tasks", {"description": "x"}, **{"Idempotency-Key": "k"}).data)
    assert answers[0] == answers[1]


def test_requests_are_served_when_postgres_ended_the_idle_sessions(serve: Command, db: Sql) -> None:
    """Connections that died while they were idle are noticed before a request uses them."""
    serve.request("POST", "/tasks", {"description": "x"})
    assert db.terminate_others("roots-tasks-serve") > 1
    answers = [serve.request("PATCH", "/task/1", {"isDone": is_done}).status for is_done in (True, False, True)]
    assert answers == [200, 200, 200]


def test_service_recovers_when_postgres_comes_and_goes(background: LoopThread, tmp_path: Path) -> None:
    """Without Postgres, without the schema, and after a power cut: unready with the reason, 503, then ready again."""
    postgres = Postgres(tmp_path)
    with Command("serve", tmp_path, ROOTS_DATABASE_URL=postgres.url) as serve:
        wait_until(lambda: serve.check("postgres")[1].startswith("Postgres does not answer"))
        refused = serve.request("GET", "/tasks")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
        assert refused.headers["Content-Type"] == "application/problem+json"
        with background.entered(postgres):
            wait_until(lambda: "python -m roots_tasks migrate" in serve.check("postgres")[1])
            assert serve.request("POST", "/tasks", {"description": "x"}).status == 503
            migrate.migrate(postgres.owner_url, migrate.packaged(), print, role=ROLE)
            wait_until(serve.is_ready)
            assert serve.request("POST", "/tasks", {"description": "x"}).status == 201
            background.run(postgres.process.crash())
            wait_until(lambda: not serve.is_ready())
            assert serve.request("PATCH", "/task/1", {"isDone": True}).status == 503
            background.run(postgres.start())
            wait_until(serve.is_ready)
            assert serve.request("PATCH", "/task/1", {"isDone": True}).json()["content"]["version"] == 2
        password = re.search(r":([^:@]+)@", postgres.url)
        assert password is not None
        assert password[1] not in serve.log()


def test_slow_request_is_answered_when_the_service_is_told_to_stop(serve: Command, db: Sql) -> None:
    """SIGTERM while a request waits for a lock: unready at once, the request answered, the exit status 0."""
    serve.request("POST", "/tasks", {"description": "x"})
    with ThreadPoolExecutor(2) as pool:
        with db.connection.transaction():
            db.rows(b"SELECT 1 FROM task FOR UPDATE")
            slow = pool.submit(serve.request, "PATCH", "/task/1", {"isDone": True})
            wait_until(db.is_waiting_for_lock)
            status = pool.submit(serve.stop)
            wait_until(lambda: not serve.is_ready())
        assert slow.result().json()["content"]["version"] == 2
        assert status.result() == 0


def test_request_is_told_to_come_back_when_a_lock_is_held_too_long(serve: Command, db: Sql) -> None:
    """No thread waits for ever: a statement that takes too long is a 503."""
    serve.request("POST", "/tasks", {"description": "x"})
    with db.connection.transaction():
        db.rows(b"SELECT 1 FROM task FOR UPDATE")
        answer = serve.request("DELETE", "/task/1")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")


def test_command_is_refused_when_the_configuration_or_the_command_is_wrong() -> None:
    """Wrong use ends with status 2 and says what is wrong; without the password."""
    for arguments, environ, message in [
        (["serve"], {}, "ROOTS_DATABASE_URL is not set"),
        (["relay"], {"ROOTS_DATABASE_URL": "postgresql://u:hunter2/x@h/d", "ROOTS_NATS_PASSWORD": "x"}, "is wrong"),
        (["dance"], {}, "invalid choice"),
        ([], {}, "required"),
    ]:
        command = [sys.executable, "-m", "roots_tasks", *arguments]
        run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert (run.returncode, message in run.stderr, "hunter2" in run.stderr) == (2, True, False)


def test_port_in_use_is_told_when_serve_starts(serve: Command, database_url: str) -> None:
    """A second process on the same port ends at once, with a sentence."""
    environ = {
        "ROOTS_DATABASE_URL": database_url,
        "ROOTS_HTTP_PORT": str(serve.port),
        "ROOTS_ADMIN_PORT": str(ports.reserve()),
    }
    command = [sys.executable, "-m", "roots_tasks", "serve"]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.startswith("error: ")) == (1, True)


def test_many_requests_are_served_when_they_come_at_once(serve: Command, db: Sql) -> None:
    """More clients than threads and connections: each is answered, each change has its event."""
    serve.http = urllib3.PoolManager(retries=False, timeout=stretched(15), maxsize=64)
    with ThreadPoolExecutor(64) as pool:
        statuses = list(pool.map(lambda _: serve.request("POST", "/tasks", {"description": "x"}).status, range(256)))
    assert statuses == [201] * 256
    assert db.count_outbox() == 256
