"""A real PostgreSQL on a loopback port, with its data in a folder of its own.

`async with Postgres(home) as postgres` gives a server with the database and role `tasks` at `postgres.url`. Passwords
are SCRAM, fsync is on, and there is no Unix socket, since its path would have a short limit.
"""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from roots_devstack import accounts, ports
from roots_devstack.keys import Keys
from roots_devstack.processes import Process, Program, Sink, discard, nothing_changed, run_once, with_tail
from roots_devstack.programs import postgres_program
from roots_devstack.waiting import until

DATABASE = "tasks"
ROLE = "tasks"
_SUPERUSER = "postgres"
_INITDB_SECONDS = 60.0
_READY_SECONDS = 60.0
_CONNECT_SECONDS = 2
STOP_SECONDS = 3.0


class Postgres:
    """One PostgreSQL server.

    `home` is the stack's folder: the data go to `home/postgres`, the passwords to `home/secrets`.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        sink: Sink = discard,
        on_change: Callable[[], None] = nothing_changed,
    ) -> None:
        self.port = ports.reserve() if port is None else port
        self._folder = home.absolute() / "postgres"
        self._data = self._folder / "data"
        self._keys = Keys(home.absolute() / "secrets")
        self._sink = sink
        self._on_change = on_change
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """Where the role `tasks` finds its database, with its password."""
        return self._url(ROLE, self._keys.get("postgres-tasks"), DATABASE)

    @property
    def superuser_url(self) -> str:
        """Where the superuser finds the database `postgres`, for what the role `tasks` may not do."""
        return self._url(_SUPERUSER, self._keys.get("postgres-superuser"), "postgres")

    @property
    def process(self) -> Process:
        """The server's process; there is one once `prepare` is done."""
        if self._process is None:
            raise RuntimeError("prepare() comes first")
        return self._process

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server and return once it answers. Errors: DevstackError."""
        try:
            await self.prepare()
            await self.process.start()
            await self.wait_ready()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server: sessions are ended, data are safe on disk."""
        if self._process is not None:
            await self._process.stop(STOP_SECONDS)

    async def kill(self) -> None:
        """Kill the server as a power cut would; it stays dead until `start`, which then recovers."""
        await self.process.crash()

    async def prepare(self) -> None:
        """Make the data folder, unless there is one. Errors: DevstackError."""
        if self._process is not None:
            return
        server = postgres_program("postgres")
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        account = accounts.unprivileged(server, self._folder)
        if not self._data.exists():
            await self._init_database(account)
        program = Program(
            name="postgres",
            command=(server, "-D", self._data, *self._settings()),
            env=_environment(),
            account=account,
            # Fast shutdown: end the sessions, write a checkpoint.
            stop_signal=signal.SIGINT,
            orphan_signal=signal.SIGINT,
        )
        self._process = Process(program, sink=self._sink, on_change=self._on_change)

    async def wait_ready(self) -> None:
        """Return once the server answers and has the role and database `tasks`. Errors: DevstackError."""
        await until(
            self.is_ready,
            seconds=_READY_SECONDS,
            failure=lambda: with_tail(
                f"postgres did not answer on port {self.port} within {_READY_SECONDS:.0f} s", self.process.tail
            ),
        )
        await self._ensure_database()

    async def is_ready(self) -> bool:
        """Tell whether the server answers a query."""
        try:
            async with await self._connect() as connection:
                await connection.execute("select 1")
        except (psycopg.Error, OSError):
            return False
        return True

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(
            self.superuser_url, autocommit=True, connect_timeout=_CONNECT_SECONDS
        )

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{password}@{ports.HOST}:{self.port}/{database}"

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

    async def _init_database(self, account: accounts.Account) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        # Renamed at the end: an interrupted initdb leaves nothing that looks like data.
        unfinished, password_file = self._folder / "data.new", self._folder / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file.write_text(self._keys.get("postgres-superuser"), encoding="ascii")
        for path in (self._folder, password_file):
            account.own(path)
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
        )
        initdb = Program(name="initdb", command=command, env=_environment(), account=account)
        try:
            await run_once(initdb, seconds=_INITDB_SECONDS, sink=self._sink)
        finally:
            password_file.unlink()
        unfinished.rename(self._data)

    async def _ensure_database(self) -> None:
        role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
        password = sql.Literal(self._keys.get("postgres-tasks"))
        async with await self._connect() as connection:
            if not await _exists(connection, "select 1 from pg_roles where rolname = %s", ROLE):
                await connection.execute(sql.SQL("create role {} login password {}").format(role, password))
            if not await _exists(connection, "select 1 from pg_database where datname = %s", DATABASE):
                await connection.execute(sql.SQL("create database {} owner {}").format(database, role))


async def _exists(connection: psycopg.AsyncConnection, query: str, name: str) -> bool:
    cursor = await connection.execute(sql.SQL(query), (name,))
    return await cursor.fetchone() is not None


def _environment() -> dict[str, str]:
    # PG* variables of the caller would change what is started.
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
