"""The schema `roots` in an application's own database: installed, upgraded, removed, and looked into.

Promises: each step of `install` is applied once and whole, also when two installers run; nobody needs a superuser.
May import: psycopg, table, source. Source: docs/outbox.md.
"""

from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg
from psycopg import sql

from cornelius.messages import RENDERINGS, REVOCATIONS
from roots_outbox.source import CHANNEL, connection_options
from roots_outbox.table import CREATE

TABLE = sql.Identifier("roots", "outbox")
REFUSED = sql.Identifier("roots", "refused")
_STEPS = ("0001_roots.sql",)
# Of any number, as long as no other program's advisory lock has it.
_LOCK = 7_665_743_001

_COUNTS = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(committed_at)), 0)::float,
       (SELECT count(*) FROM roots.refused)
FROM roots.outbox
"""
# Without the tables that were dropped.
_WATCHED = """
SELECT relation::text, path FROM roots.watched JOIN pg_class ON pg_class.oid = relation ORDER BY roots.watched.id
"""
# Functions whose body is an expression.
_MIN_SERVER_VERSION = 140_000
_VERSION = "SELECT version FROM roots.schema_version"
_RETRY = """
WITH again AS (DELETE FROM roots.refused RETURNING *)
INSERT INTO roots.outbox (event_id, path, ordering_key, message, traceparent, committed_at)
SELECT event_id, path, ordering_key, message, traceparent, committed_at FROM again ORDER BY id
"""

Connection = psycopg.Connection[tuple[Any, ...]]


class SchemaError(Exception):
    """The schema is missing, newer than this program, or in the way. The message is for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What an outbox has. Units: oldest_seconds is the age of the oldest event that waits, 0 when none does."""

    waiting: int
    oldest_seconds: float
    refused: int
    watched: list[tuple[Any, ...]]
    """The tables that are watched, each with its path."""


def connect(database_url: str) -> Connection:
    """Return a connection for a command. Errors: psycopg.Error."""
    return psycopg.connect(database_url, **connection_options("roots-outbox"))


def install(connection: Connection) -> int:
    """Create the schema, or bring it up to date; return how many steps were applied.

    Errors: SchemaError when a newer program has upgraded it, the database has another schema of the name, or Postgres
        is too old.
    """
    if connection.info.server_version < _MIN_SERVER_VERSION:
        raise SchemaError("the schema needs Postgres 14 or later")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        version = _version(connection)
        if version > len(_STEPS):
            raise SchemaError(f"the schema has version {version}, and this program knows {len(_STEPS)}; upgrade it")
        for step in _STEPS[version:]:
            connection.execute(_read(step))
        if version == 0:
            connection.execute("CREATE TABLE roots.schema_version (version integer NOT NULL)")
            connection.execute("INSERT INTO roots.schema_version VALUES (0)")
        connection.execute("UPDATE roots.schema_version SET version = %s", [len(_STEPS)])
        return len(_STEPS) - version


def uninstall(connection: Connection, *, loses_events: bool = False) -> None:
    """Drop the schema with its triggers.

    Errors: SchemaError when events wait that would be lost, unless `loses_events`.
    """
    with connection.transaction():
        found = status(connection)
        if (found.waiting or found.refused) and not loses_events:
            raise SchemaError(f"{found.waiting} events wait and {found.refused} were refused; they would be lost")
        connection.execute("DROP SCHEMA roots CASCADE")


def status(connection: Connection) -> Status:
    """Return what waits, what was refused and what is watched. Errors: SchemaError when nothing is installed."""
    _check_installed(connection)
    waiting, oldest, refused = _one(connection, _COUNTS)
    watched = connection.execute(_WATCHED).fetchall()
    return Status(waiting=waiting, oldest_seconds=oldest, refused=refused, watched=watched)


def retry(connection: Connection) -> int:
    """Put what was refused back into the outbox, in its order; return how many events these are.

    Errors: SchemaError when nothing is installed.
    """
    _check_installed(connection)
    return connection.execute(_RETRY).rowcount


def _check_installed(connection: Connection) -> None:
    if _version(connection) == 0:
        raise SchemaError("the database has no outbox; install it")


def _version(connection: Connection) -> int:
    """Return the version of the installed schema, 0 when there is none."""
    exists, is_ours = _one(
        connection, "SELECT to_regnamespace('roots') IS NOT NULL, to_regclass('roots.schema_version') IS NOT NULL"
    )
    if not exists:
        return 0
    if not is_ours:
        raise SchemaError("the database has a schema named roots that is not of this program")
    (version,) = _one(connection, _VERSION)
    return int(version)


def _read(step: str) -> bytes:
    text = resources.files(__package__).joinpath(step).read_text(encoding="utf-8")
    create = sql.SQL(CREATE).format(table=TABLE).as_string(None).strip()
    for token, value in {
        "outbox_table": create,
        "channel": _literal(CHANNEL),
        "revocations": _literal(REVOCATIONS),
        "renderings": _literal(RENDERINGS),
    }.items():
        text = text.replace(f"@{token}@", value)
    return text.encode()


def _literal(value: str) -> str:
    return sql.Literal(value).as_string(None)


def _one(connection: Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None  # noqa: S101  # an aggregate without GROUP BY has one row
    return row
