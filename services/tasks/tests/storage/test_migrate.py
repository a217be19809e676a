"""The migration runner, against real databases."""

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.testkit.deadlines import wait_until

from roots.contracts.events import EVENT_ID_HEADER
from roots_devstack.processes import ports
from roots_devstack.servers.postgres import Postgres
from roots_outbox.table import CREATE
from roots_tasks.errors import MigrationError
from roots_tasks.storage import migrate
from roots_tasks.storage.migrate import Migration

from ..support import Command, Nats, Sql, relay_environment

SCHEMA_IS_MISSING = "the database lacks its schema; run: python -m roots_tasks migrate"


def run_command(database_url: str) -> subprocess.CompletedProcess[str]:
    """Run `migrate` as a process."""
    environ = {"PATH": os.environ["PATH"], "ROOTS_DATABASE_URL": database_url}
    return subprocess.run(
        [sys.executable, "-m", "roots_tasks", "migrate"], env=environ, capture_output=True, text=True, check=False
    )


def test_command_applies_each_file_once_when_run_twice(empty_database_url: str) -> None:
    """The first run prints what it applies, the second that there is nothing to apply; both end with status 0."""
    names = [f"applied {migration.name}\n" for migration in migrate.packaged()]
    first, second = run_command(empty_database_url), run_command(empty_database_url)
    assert (first.returncode, first.stdout) == (0, "".join(names))
    assert (second.returncode, second.stdout) == (0, "nothing to apply\n")


def test_each_file_is_applied_once_when_runs_race(empty_database_url: str) -> None:
    """Runs at the same time wait for each other."""
    told: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: migrate.migrate(empty_database_url, migrate.packaged(), told.append), range(4)))
    assert told.count("nothing to apply") == 3
    assert len(told) == 3 + len(migrate.packaged())


def test_edited_file_is_refused_when_it_was_applied(db: Sql) -> None:
    """An edit after the fact would make databases differ; the message names the file and the way out."""
    first, *others = migrate.packaged()
    edited = dataclasses.replace(first, sql=first.sql + b"\n-- edited")
    with pytest.raises(MigrationError, match=rf"{first.name} was edited after .*; undo the edit and add a new file"):
        migrate.migrate(db.owner_url, [edited, *others], print)


def test_keys_of_a_version_before_are_nobodys_when_they_get_subjects(empty_database_url: str) -> None:
    """Rows from before are kept, a retry of them is answered, and the version before can go on writing its own."""
    before = [migration for migration in migrate.packaged() if migration.version < 3]
    migrate.migrate(empty_database_url, before, print)
    insert = b"INSERT INTO idempotency_key (key, request_digest, task_id, content) VALUES (%s, '', 1, '{}')"
    db = Sql(empty_database_url)
    with db.connection:
        db.rows(insert, "old")
        migrate.migrate(empty_database_url, migrate.packaged(), print)
        db.rows(insert, "written beside")
        assert [("old", ""), ("written beside", "")] == db.rows(
            b"SELECT key, subject FROM idempotency_key ORDER BY key"
        )
        with pytest.raises(psycopg.errors.UniqueViolation):
            db.rows(insert, "old")


def test_version_before_goes_on_beside_when_tasks_get_tags(empty_database_url: str) -> None:
    """Tasks and answers from before are kept, and what the version before writes has a tag in its events, too."""
    before = [migration for migration in migrate.packaged() if migration.version < 4]
    migrate.migrate(empty_database_url, before, print)
    insert = b"INSERT INTO task (description, is_done) VALUES (%s, false)"
    content = b"SELECT task_content(id, description, is_done, version, created_at, updated_at) FROM task ORDER BY id"
    db = Sql(empty_database_url)
    with db.connection:
        db.rows(insert, "old")
        old = json.loads(db.value(content))
        migrate.migrate(empty_database_url, migrate.packaged(), print)
        db.rows(insert, "written beside")
        kept, beside = [json.loads(text) for (text,) in db.rows(content)]
        tags = [tag for (tag,) in db.rows(b"SELECT task_tag(version, updated_at) FROM task ORDER BY id")]
    assert kept == old | {"tag": tags[0]}
    assert (beside["description"], beside["tag"]) == ("written beside", tags[1])


def test_waiting_events_are_delivered_when_the_outbox_gets_ordering_keys(
    empty_database_url: str, nats: Nats, tmp_path: Path
) -> None:
    """I2, I11: rows that the version before has written are published after the upgrade, in order, with their ids."""
    before = [migration for migration in migrate.packaged() if migration.version < 5]
    migrate.migrate(empty_database_url, before, print)
    start = nats.last_sequence()
    db = Sql(empty_database_url)
    with db.connection:
        insert = b"INSERT INTO outbox (path, task_id, message) VALUES ('tasks', %s, %s)"
        for number, task in enumerate([7, 8, 7, 2**62, 7]):
            db.rows(insert, task, f'{{"n":{number}}}')
        event_ids = [event_id for (event_id,) in db.rows(b"SELECT event_id::text FROM outbox ORDER BY id")]
        with Command("relay", tmp_path, **relay_environment(nats, empty_database_url)) as relay:
            wait_until(lambda: relay.check("postgres") == (False, SCHEMA_IS_MISSING))
            migrate.migrate(empty_database_url, migrate.packaged(), print)
            keys = db.rows(b"SELECT ordering_key FROM outbox ORDER BY id")
            assert keys in ([], [("7",), ("8",), ("7",), (str(2**62),), ("7",)])
            wait_until(lambda: db.count_outbox() == 0)
    stored = nats.events(start)
    assert sorted(event_ids) == sorted(event.headers[EVENT_ID_HEADER] for event in stored)
    assert ["0", "2", "4"] == [n for event in stored if (n := event.data.decode()[5:-1]) in {"0", "2", "4"}]


def test_outbox_is_that_of_its_package_when_it_was_migrated(db: Sql) -> None:
    """The table that the migrations make has the columns, defaults and settings that the relay's package describes."""
    columns = b"""
        SELECT column_name, data_type, is_nullable, column_default, is_identity
        FROM information_schema.columns WHERE table_schema = %s AND table_name = 'outbox' ORDER BY column_name
    """
    settings = b"SELECT reloptions FROM pg_class WHERE oid = %s::regclass"
    db.rows(b"CREATE SCHEMA other")
    db.connection.execute(sql.SQL(CREATE).format(table=sql.Identifier("other", "outbox")))
    assert db.rows(columns, "other") == db.rows(columns, "public")
    assert db.rows(settings, "other.outbox") == db.rows(settings, "public.outbox")


def test_failed_file_leaves_nothing_when_it_fails_half_way(db: Sql) -> None:
    """Each file is one transaction: what failed can be mended and applied again, what came before stays."""
    good = Migration(version=9001, name="9001_good.sql", sql=b"CREATE TABLE good ()")
    bad = Migration(version=9002, name="9002_bad.sql", sql=b"CREATE TABLE half (); SELECT 1 / 0")
    with pytest.raises(MigrationError, match="division by zero"):
        migrate.migrate(db.owner_url, [*migrate.packaged(), good, bad], print)
    assert db.rows(b"SELECT to_regclass('good') IS NOT NULL, to_regclass('half') IS NULL") == [(True, True)]
    mended = dataclasses.replace(bad, sql=b"CREATE TABLE half ()")
    migrate.migrate(db.owner_url, [*migrate.packaged(), good, mended], print)


def test_command_gives_up_when_postgres_does_not_come() -> None:
    """Without Postgres it waits, and then says so, without the password."""
    url = f"postgresql://tasks:hunter2@127.0.0.1:{ports.reserve()}/tasks"
    with pytest.raises(MigrationError, match="Postgres does not answer") as caught:
        migrate.migrate(url, migrate.packaged(), print, wait_seconds=0)
    assert "hunter2" not in str(caught.value)


def test_files_are_numbered_without_gaps_when_packaged() -> None:
    """The files' numbers are 1, 2, 3 and so on."""
    versions = [migration.version for migration in migrate.packaged()]
    assert versions == list(range(1, len(versions) + 1))


def test_schema_is_refused_when_the_database_is_not_utf8(postgres: Postgres) -> None:
    """In another encoding lengths would count bytes."""
    with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:
        connection.execute(
            "CREATE DATABASE ascii TEMPLATE template0 ENCODING SQL_ASCII LOCALE_PROVIDER libc LOCALE 'C'"
        )
    with pytest.raises(MigrationError, match="must have the encoding UTF8"):
        migrate.migrate(postgres.superuser_url.removesuffix("postgres") + "ascii", migrate.packaged(), print)
