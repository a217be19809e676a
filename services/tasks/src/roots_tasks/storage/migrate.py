"""Applies the numbered SQL files of `migrations/` in order, each in a transaction of its own, each once.

It runs as the role that owns the tables, and grants the services' role what they use. Promises: two runs at the same
time apply nothing twice (advisory lock); a file that was edited after it had been applied is refused, since databases
would differ from then on. May import: psycopg, errors.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

import psycopg
from psycopg import sql

from roots.runtime import logs
from roots_tasks.errors import MigrationError

WAIT_SECONDS = 60.0
RETRY_SECONDS = 0.5
CONNECT_SECONDS = 3
# Any number that no other program of this database uses as an advisory lock.
LOCK_ID = 0x526F6F7473_01

log = logs.get(__name__)

_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
_APPLIED = "SELECT version, checksum FROM schema_migration"
# grant: what the services do, and nothing else. One transaction, so that services that run lose nothing meanwhile.
_GRANT = """
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role};
REVOKE ALL ON SCHEMA public FROM {role};
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON DATABASE {database} FROM {role};
REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO {role};
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT ON schema_migration TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON task, outbox, idempotency_key TO {role};
"""
_WHERE = "SELECT current_user::text, current_database()::text, EXISTS (SELECT FROM pg_roles WHERE rolname = %s)"
_RECORD = "INSERT INTO schema_migration (version, name, checksum) VALUES (%s, %s, %s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered file, `0001_tasks.sql`."""

    version: int
    name: str
    sql: bytes

    @property
    def checksum(self) -> str:
        """Return a digest, which shows whether the file is still what was applied."""
        return hashlib.sha256(self.sql).hexdigest()


def packaged(folder: Traversable | None = None) -> list[Migration]:
    """Return the migrations of `folder` (this package's by default), by ascending version."""
    folder = resources.files("roots_tasks.storage") / "migrations" if folder is None else folder
    return sorted(
        (
            Migration(version=int(file.name.partition("_")[0]), name=file.name, sql=file.read_bytes())
            for file in folder.iterdir()
            if file.name.endswith(".sql")
        ),
        key=lambda migration: migration.version,
    )


def newest_version() -> int:
    """Return the version of the schema that this package needs."""
    return packaged()[-1].version


def migrate(
    url: str,
    migrations: list[Migration],
    report: Callable[[str], None],
    *,
    role: str | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> None:
    """Bring the database at `url` up to date, and grant `role` what the services use; `report` each step in a sentence.

    Units: wait_seconds until Postgres answers at the latest.
    Errors: MigrationError.
    """
    with _connect(url, time.monotonic() + wait_seconds) as connection:
        # Held until the connection closes; another run waits here, and then finds its work done.
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_ID])
        try:
            _apply_missing(connection, migrations, report)
            if role is not None:
                _grant(connection, role, report)
        except psycopg.Error as error:
            raise MigrationError(f"Postgres refused a migration: {error}") from error


def _connect(url: str, deadline: float) -> psycopg.Connection:
    while True:
        try:
            return psycopg.connect(
                url, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="roots-tasks-migrate"
            )
        except psycopg.OperationalError as error:
            reason = str(error).strip().partition("\n")[0]
            if time.monotonic() >= deadline:
                raise MigrationError(f"Postgres does not answer: {reason}") from error
            log.info("migrate_waits", detail=reason)
            time.sleep(RETRY_SECONDS)


def _apply_missing(connection: psycopg.Connection, migrations: list[Migration], report: Callable[[str], None]) -> None:
    connection.execute(_CREATE_TABLE)
    applied: dict[int, str] = dict(connection.execute(_APPLIED).fetchall())
    for migration in migrations:
        checksum = applied.get(migration.version)
        if checksum is None:
            continue
        if checksum != migration.checksum:
            raise MigrationError(
                f"{migration.name} was edited after it had been applied; undo the edit and add a new file instead"
            )
    missing = [migration for migration in migrations if migration.version not in applied]
    for migration in missing:
        with connection.transaction():
            connection.execute(migration.sql)
            connection.execute(_RECORD, [migration.version, migration.name, migration.checksum])
        report(f"applied {migration.name}")
    if not missing:
        report("nothing to apply")


def _grant(connection: psycopg.Connection, role: str, report: Callable[[str], None]) -> None:
    ((owner, database, is_there),) = connection.execute(_WHERE, [role]).fetchall()
    if not is_there:
        raise MigrationError(f"there is no role {role} for the services: docs/operations.md, Roles of Postgres")
    if owner == role:
        report(f"granted nothing: {role} owns the tables; docs/operations.md, Roles of Postgres")
        return
    names = {"role": sql.Identifier(role), "database": sql.Identifier(database)}
    with connection.transaction():
        connection.execute(sql.SQL(_GRANT).format(**names))
    report(f"granted {role} what the services use")
