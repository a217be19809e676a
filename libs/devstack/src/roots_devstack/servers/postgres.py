"""A real PostgreSQL on a loopback port, with its data in a folder of its own.

`async with Postgres(home) as postgres` gives a server with the database `tasks`. Its owner, at `postgres.owner_url`, is
for migrations. The role `tasks`, at `postgres.url`, is for the services, and may do what the migrations grant it.
Passwords are SCRAM, fsync is on, and there is no Unix socket, since its path would have a short limit.
"""

import shutil
import signal
from pathlib import Path

import psycopg
from psycopg import sql

from roots_devstack.home import absolute
from roots_devstack.keys import Keys
from roots_devstack.processes import ports
from roots_devstack.processes.child import Program
from roots_devstack.processes.environment import bare
from roots_devstack.processes.programs import postgres_program
from roots_devstack.processes.started import Started
from roots_devstack.processes.supervision import UNWATCHED, Process, Watch, run_once
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers import accounts

DATABASE = "tasks"
ROLE = "tasks"
OWNER = "tasks_owner"
_SUPERUSER = "postgres"
_FIRST_DATABASE = "postgres"
_INITDB_SECONDS = 60.0
_READY_SECONDS = 60.0
_CONNECT_SECONDS = 2
STOP_SECONDS = 3.0
_LOCALE = {"LC_ALL": "C"}

_OWNS = "select 1 from pg_database where datname = current_database() and datdba = %s::regrole"
# One transaction. The migrations that follow grant less.
_HAND_OVER = """
reassign owned by {role} to {owner};
grant select, insert, update, delete on all tables in schema public to {role};
"""


class Postgres(Started):
    """One PostgreSQL server.

    `home` is the stack's folder: the data go to `home/postgres`, the passwords to `home/secrets`.
    """

    name = "postgres"
    admin_url = None

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        watch: Watch = UNWATCHED,
    ) -> None:
        self.port = ports.reserve() if port is None else port
        home = absolute(home)
        self._folder = home / "postgres"
        self._data = self._folder / "data"
        self._keys = Keys(home / "secrets")
        self._watch = watch
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._account = accounts.unprivileged(postgres_program("postgres"), self._folder)
        self.process = Process(self._program(), watch)

    @property
    def url(self) -> str:
        """Where the role `tasks` finds its database, with its password."""
        return self._url(ROLE, self._keys.get("postgres-tasks"), DATABASE)

    @property
    def owner_url(self) -> str:
        """Where the owner of the database `tasks` finds it, with its password."""
        return self._url(OWNER, self._keys.get("postgres-owner"), DATABASE)

    @property
    def superuser_url(self) -> str:
        """Where the superuser finds the database `postgres`, for what the owner of `tasks` may not do."""
        return self._url(_SUPERUSER, self._keys.get("postgres-superuser"), _FIRST_DATABASE)

    async def _start(self) -> None:
        if not self._data.exists():
            await self._init_database()
        await self.process.start()
        await self.wait_ready()

    async def stop(self) -> None:
        """Stop the server: sessions are ended, data are safe on disk."""
        await self.process.stop(STOP_SECONDS)

    async def wait_ready(self) -> None:
        """Return once the server answers and has the roles and the database `tasks`. Errors: DevstackError."""
        await until_ready(self, seconds=_READY_SECONDS)
        await self._ensure_database()

    async def unready_reason(self) -> str | None:
        """Return None once the server answers a query, else what it lacks."""
        try:
            async with await self._connect(_FIRST_DATABASE) as connection:
                await connection.execute("select 1")
        except (psycopg.Error, OSError):
            return f"it does not answer on port {self.port}"
        return None

    async def _connect(self, database: str) -> psycopg.AsyncConnection:
        url = self._url(_SUPERUSER, self._keys.get("postgres-superuser"), database)
        return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=_CONNECT_SECONDS)

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{ports.HOST}:{self.port}/{database}"

    def _program(self) -> Program:
        return Program(
            name=self.name,
            command=(postgres_program("postgres"), "-D", self._data, *self._settings()),
            env=bare(_LOCALE),
            account=self._account,
            # Fast shutdown: end the sessions, write a checkpoint.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
        )

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": ports.HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "log_line_prefix": "",
            "timezone": "UTC",
        }
        return [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]

    async def _init_database(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        # Renamed at the end: an interrupted initdb leaves nothing that looks like data.
        unfinished, password_file = self._folder / "data.new", self._folder / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file.write_text(self._keys.get("postgres-superuser"), encoding="ascii")
        for path in (self._folder, password_file):
            self._account.own(path)
        command = (
            postgres_program("initdb"),
            f"--pgdata={unfinished}",
            f"--username={_SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Sorts the same on every machine, whatever locales it has.
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
        )
        initdb = Program(name="initdb", command=command, env=bare(_LOCALE), account=self._account)
        try:
            await run_once(initdb, seconds=_INITDB_SECONDS, sink=self._watch.sink)
        finally:
            password_file.unlink()
        unfinished.rename(self._data)

    async def _ensure_database(self) -> None:
        names = {"role": sql.Identifier(ROLE), "owner": sql.Identifier(OWNER), "database": sql.Identifier(DATABASE)}
        async with await self._connect(_FIRST_DATABASE) as connection:
            for name, key in ((ROLE, "postgres-tasks"), (OWNER, "postgres-owner")):
                if not await _exists(connection, "select 1 from pg_roles where rolname = %s", name):
                    role, password = sql.Identifier(name), sql.Literal(self._keys.get(key))
                    await connection.execute(sql.SQL("create role {} login password {}").format(role, password))
            if not await _exists(connection, "select 1 from pg_database where datname = %s", DATABASE):
                await connection.execute(sql.SQL("create database {database} owner {owner}").format(**names))
        async with await self._connect(DATABASE) as connection:
            # A folder from before the roles were apart.
            if await _exists(connection, _OWNS, ROLE):
                await connection.execute(sql.SQL(_HAND_OVER).format(**names))


async def _exists(connection: psycopg.AsyncConnection, query: str, name: str) -> bool:
    cursor = await connection.execute(sql.SQL(query), (name,))
    return await cursor.fetchone() is not None
