"""An application of one's own, of which Roots knows a Postgres database: what it commits reaches its clients."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, until

from cornelius import Dudley, RevisionError
from cornelius.aio import AsyncDudley
from roots.contracts.subjects import DISCONNECT_PATH
from roots_devstack.processes import ports, probes
from roots_devstack.processes.environment import bare
from roots_devstack.servers.postgres import Postgres
from roots_devstack.stack import Stack

from .listener import Listener

GUIDE = (Path(__file__).parents[2] / "docs/guide/outbox.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"(?ms)^## (\w+)$[^#]*^```python\n(.*?)^```$", GUIDE)
WRITERS = 4
CHANGES = 40


@pytest.fixture(scope="module")
def database(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of an application's database, in a server that is not of Roots."""
    with background.entered(Postgres(tmp_path_factory.mktemp("application"))) as server:
        with psycopg.connect(server.owner_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE todo (id serial PRIMARY KEY, description text, version integer DEFAULT 1)")
        yield server.owner_url


@pytest.fixture
def todos(database: str) -> Iterator[psycopg.Connection]:
    """Yield the application's connection; its table is empty, and is watched."""
    assert "installed" in outbox(database, "install") or "up to date" in outbox(database, "install")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE todo")
        connection.execute("DELETE FROM roots.outbox")
        connection.execute("DELETE FROM roots.refused")
        connection.execute("SELECT roots.watch('todo', 'tasks')")
        yield connection


def outbox(database: str, *arguments: str) -> str:
    """Run a command of the outbox to its end, and return what it prints."""
    command = [sys.executable, "-m", "cornelius", "outbox", *arguments]
    env = bare({"ROOTS_DATABASE_URL": database})
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env, timeout=stretched(30)).stdout


@asynccontextmanager
async def relay(database: str, stack: Stack, home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a relay with the key that `make run` has made."""
    admin = ports.reserve()
    url = str(stack.processes["subscriptions"].backend_api_url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cornelius", "outbox", "relay", "--backend-api", url),
        *("--key-file", str(home / "secrets" / "backend-todos")),
        env=bare({"ROOTS_DATABASE_URL": database, "ROOTS_ADMIN_PORT": str(admin)}),
    )

    async def is_ready() -> bool:
        answer = await probes.get(f"http://127.0.0.1:{admin}/readyz")
        return answer is not None and answer.status == 200

    try:
        await until(is_ready, 30.0)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@asynccontextmanager
async def listening(stack: Stack, *paths: str) -> AsyncIterator[Listener]:
    """Open a client that receives `paths`."""
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.begin(list(paths))
        yield client


async def test_client_receives_what_an_application_commits_when_its_table_is_watched(
    stack: Stack, home: Path, todos: psycopg.Connection, database: str
) -> None:
    """I11: an application whose code knows nothing of Roots; what it rolls back is never received."""
    async with listening(stack, "tasks") as client, relay(database, stack, home):
        todos.execute("INSERT INTO todo (description) VALUES ('Buy milk')")
        with todos.transaction(force_rollback=True):
            todos.execute("INSERT INTO todo (description) VALUES ('Never')")
        todos.execute("UPDATE todo SET description = 'Buy oat milk'")
        todos.execute("DELETE FROM todo")
        await client.poll_until(lambda: len(client.messages()) >= 3, seconds=30)
        assert ["Buy milk", "Buy oat milk", None] == [item.get("description") for item in client.messages()]
        assert client.messages()[-1]["DELETE"] is True


async def test_nothing_is_lost_when_the_relay_is_killed_under_many_writers(
    stack: Stack, home: Path, todos: psycopg.Connection, database: str
) -> None:
    """I1, I2, I11: each row's changes in commit order, each once for who drops repeated ids, and none of a rollback."""
    todos.execute("INSERT INTO todo (id, version) SELECT n, 1 FROM generate_series(1, %s) AS n", [WRITERS])

    def write(row: int) -> None:
        with psycopg.connect(database) as own:
            for number in range(CHANGES):
                own.execute("UPDATE todo SET version = version + 1 WHERE id = %s", [row])
                own.execute("UPDATE todo SET description = %s WHERE id = %s", [str(number), row + 1])
                if number % 5:
                    own.commit()
                else:
                    own.rollback()

    async with listening(stack, "tasks") as client:
        writing = [asyncio.create_task(asyncio.to_thread(write, row)) for row in (1, 3)]
        while not all(task.done() for task in writing):
            async with relay(database, stack, home) as process:
                await asyncio.wait(writing, timeout=0.5)
                process.kill()
        await asyncio.gather(*writing)
        async with relay(database, stack, home):
            versions: dict[int, int] = dict(todos.execute("SELECT id, version FROM todo").fetchall())

            def latest() -> dict[int, int]:
                return {item["id"]: item["version"] for item in client.messages()}

            await client.poll_until(lambda: latest() == versions, seconds=60)
        for row, version in versions.items():
            received = [item["version"] for item in client.messages() if item["id"] == row]
            assert sorted(received) == received
            assert set(range(1, version + 1)) == set(received)


async def test_grant_is_refused_when_a_revocation_of_the_outbox_came_after_its_revision(
    stack: Stack, home: Path, todos: psycopg.Connection, database: str
) -> None:
    """I5: what was granted before the relay has sent the revocation is withdrawn, and nothing is granted after it."""
    key = (home / "secrets" / "backend-todos").read_text("ascii").strip()
    dudley = AsyncDudley(Dudley(url=str(stack.processes["subscriptions"].backend_api_url), key=key))
    async with listening(stack, "tasks") as client:
        uid = client.uid

        async def is_refused() -> bool:
            try:
                await dudley.connect(uid, ["rooms/7"], "member", if_revision=revision)
            except RevisionError:
                return True
            return False

        async def is_gone() -> bool:
            return "rooms/7" not in [item["path"] for item in (await dudley.explain(uid))["hears"]]

        revision = await dudley.revision("member")
        todos.execute("SELECT roots.revoke(subject => 'member', path => 'rooms/7')")
        assert not await is_refused()
        async with relay(database, stack, home):
            await until(is_refused, 30.0)
            await until(is_gone, 30.0)
        assert await is_refused()
        assert await is_gone()


async def test_event_is_kept_apart_when_it_is_refused_for_good(
    stack: Stack, home: Path, todos: psycopg.Connection, database: str
) -> None:
    """It does not stop what follows; the operator reads why, and sends it again."""
    async with listening(stack, "tasks") as client, relay(database, stack, home):
        with todos.transaction():
            todos.execute("SELECT roots.publish('tasks', to_jsonb(repeat('x', 70000)))")
            todos.execute("SELECT roots.publish('no path', '{}')")
            todos.execute("""SELECT roots.publish('tasks', '{"guid": "after"}')""")
        await client.poll_until(lambda: len(client.messages()) >= 1, seconds=30)
        assert ["after"] == [item["guid"] for item in client.messages()]
    assert 2 == json.loads(outbox(database, "status"))["refused"]
    reasons = [reason for (reason,) in todos.execute("SELECT reason FROM roots.refused ORDER BY id").fetchall()]
    assert "70002 bytes" in reasons[0]
    assert "2 events" in outbox(database, "retry")
    assert 2 == json.loads(outbox(database, "status"))["waiting"]


async def test_client_receives_nothing_after_its_path_was_revoked_in_a_transaction(
    stack: Stack, home: Path, todos: psycopg.Connection, database: str
) -> None:
    """I5: also when Roots and the relay were away as the right was taken."""
    async with listening(stack, "tasks") as client:
        todos.execute("SELECT roots.publish('tasks', '1')")
        todos.execute("SELECT roots.revoke(uid => %s, path => 'tasks')", [client.uid])
        todos.execute("SELECT roots.publish('tasks', '2')")
        async with relay(database, stack, home):
            await until(lambda: todos.execute("SELECT FROM roots.outbox").rowcount == 0, 10.0)
            await client.poll_until(lambda: (DISCONNECT_PATH, "tasks") in client.updates, seconds=30)
        assert ("tasks", "2") not in client.updates


def test_guide_has_programs_for_each_library() -> None:
    """Each is run below."""
    assert ["psycopg", "asyncpg", "SQLAlchemy"] == [library for library, _ in PROGRAMS]


@pytest.mark.parametrize("program", [program for _, program in PROGRAMS])
def test_note_and_its_event_are_of_one_transaction_when_a_program_of_the_guide_adds_it(
    todos: psycopg.Connection, database: str, program: str
) -> None:
    """I11: as the document prints it, but for the address of the database."""
    todos.execute("DROP TABLE IF EXISTS notes")
    todos.execute("CREATE TABLE notes (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL)")
    code = program.replace("user:password@localhost:5432/name", database.partition("://")[2])
    subprocess.run([sys.executable, "-c", code], check=True, env=bare({}), timeout=stretched(30))
    found = todos.execute("SELECT path, message, o.xmin = n.xmin FROM roots.outbox AS o, notes AS n").fetchall()
    assert [("notes", '{"id": 1, "text": "Water the plants"}', True)] == found


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["status"], "name the database"),
        (["status", "--database", "postgresql://127.0.0.1:1/nothing"], "error: connection failed"),
        (["relay", "--key-file", "/nothing"], "error: "),
    ],
)
def test_command_says_one_sentence_when_something_is_missing(arguments: list[str], expected: str) -> None:
    """No traceback."""
    env = bare({"ROOTS_DATABASE_URL": "postgresql://127.0.0.1:1/x"} if "relay" in arguments else {})
    command = [sys.executable, "-m", "cornelius", "outbox", *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=env, timeout=stretched(30))
    assert 0 != ended.returncode
    assert expected in ended.stderr
    assert "Traceback" not in ended.stderr
