"""The processes of an application of one's own beside the stack: several writers, and two relays of its outbox.

Its database is in the Postgres server of the stack: what happens to that server happens to the application too.
"""

import asyncio
import sys
from pathlib import Path

import psycopg
from psycopg import sql

from roots_devstack.keys import Keys
from roots_devstack.processes import ports
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import bare
from roots_devstack.processes.started import Started
from roots_devstack.processes.supervision import Process, Watch, run_once
from roots_devstack.processes.waiting import Part, until_ready
from roots_devstack.servers.postgres import Postgres
from roots_devstack.services import Service
from roots_devstack.stack import Stack

from .settings import APPLICATION_KEY

WRITER = "application-writer"
RELAY = "application-relay"
RELAYS = 2
READY_SECONDS = 60.0

# The application's role, which also owns its database; it is no superuser.
_ROLE = "application"
_TABLES = """
CREATE TABLE item (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room integer NOT NULL,
    version integer NOT NULL DEFAULT 1,
    mark text NOT NULL
);
CREATE TABLE journal (
    id bigint NOT NULL,
    room integer NOT NULL,
    version integer NOT NULL,
    mark text NOT NULL,
    is_deletion boolean NOT NULL,
    PRIMARY KEY (id, version)
);
SELECT roots.watch('item', 'rooms/{room}');
"""


class Writer:
    """One writing process. It serves nothing, and is ready when it runs."""

    url = None
    admin_url = None

    def __init__(self, name: str, database_url: str, watch: Watch) -> None:
        self.name = name
        # The checker waits until the server has ended the sessions of all writers, and knows them by their name.
        env = bare({"ROOTS_DATABASE_URL": database_url, "PGAPPNAME": WRITER})
        command = (sys.executable, "-m", "tests.chaos.application_writer")
        self.process = Process(Program(name=name, command=command, env=env), watch)

    async def unready_reason(self) -> str | None:
        """Return None while it runs."""
        return None if self.process.pid is not None else "it does not run"


class ApplicationProcesses(Started):
    """The application beside a running `stack`, whose folder is `home`. Shape: database_url has the password."""

    def __init__(self, home: Path, stack: Stack, *, writers: int, watch: Watch) -> None:
        postgres = stack.part("postgres")
        assert isinstance(postgres, Postgres)
        self._superuser_url = postgres.superuser_url
        self._password = Keys(home / "secrets").get("postgres-application")
        self._watch = watch
        self.database_url = f"postgresql://{_ROLE}:{self._password}@{ports.HOST}:{postgres.port}/{_ROLE}"
        backend_api_url = str(stack.processes["subscriptions"].backend_api_url)
        key_file = str(home / "secrets" / APPLICATION_KEY)
        relay = ("cornelius", "outbox", "relay", "--backend-api", backend_api_url, "--key-file", key_file)
        env = bare({"ROOTS_DATABASE_URL": self.database_url})
        self.parts: list[Part] = [
            *(Writer(f"{WRITER}-{number}", self.database_url, watch) for number in range(1, writers + 1)),
            *(
                Service(f"{RELAY}-{number}", *relay, http_port=None, env=env, watch=watch)
                for number in range(1, RELAYS + 1)
            ),
        ]

    async def _start(self) -> None:
        await self._create_database()
        install = (sys.executable, "-m", "cornelius", "outbox", "install")
        env = bare({"ROOTS_DATABASE_URL": self.database_url})
        await run_once(
            Program(name="outbox install", command=install, env=env), seconds=READY_SECONDS, sink=self._watch.sink
        )
        async with await psycopg.AsyncConnection.connect(self.database_url) as connection:
            await connection.execute(_TABLES)
        await asyncio.gather(*(part.process.start() for part in self.parts))
        await asyncio.gather(*(until_ready(part, seconds=READY_SECONDS) for part in self.parts))

    async def stop(self) -> None:
        """Stop all of its processes."""
        await asyncio.gather(*(part.process.stop() for part in self.parts))

    async def _create_database(self) -> None:
        role = sql.Identifier(_ROLE)
        async with await psycopg.AsyncConnection.connect(self._superuser_url, autocommit=True) as connection:
            await connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(self._password))
            )
            await connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(role, role))
