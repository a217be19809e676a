"""What the services' role may do in Postgres, and what its owner's migrations grant it."""

import os
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, wait_until

from roots_devstack.processes.programs import postgres_program
from roots_devstack.servers.postgres import OWNER, ROLE, Postgres
from roots_tasks.errors import MigrationError
from roots_tasks.storage import migrate

from ..support import Command, Nats, Sql

TABLES = ["task", "outbox", "idempotency_key"]
ROLES_SQL = Path(__file__).parents[4] / "deploy/postgres/roots.sql"

FORBIDDEN = [
    *(
        statement.format(table)
        for table in [*TABLES, "schema_migration"]
        for statement in [
            "DROP TABLE {}",
            "ALTER TABLE {} ADD COLUMN more text",
            "ALTER TABLE {} OWNER TO tasks",
            "ALTER TABLE {} DISABLE TRIGGER ALL",
            "TRUNCATE {}",
            "CREATE INDEX ON {} ((1))",
            "CREATE RULE nothing AS ON INSERT TO {} DO INSTEAD NOTHING",
            "COMMENT ON TABLE {} IS 'mine'",
        ]
    ),
    "INSERT INTO schema_migration (version, name, checksum) VALUES (99, '', '')",
    "UPDATE schema_migration SET version = 99",
    "DELETE FROM schema_migration",
    "CREATE TABLE mine ()",
    "CREATE TEMPORARY TABLE mine ()",
    "CREATE SCHEMA mine",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE SEQUENCE mine",
    "CREATE TYPE mine AS (one text)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
    "CREATE OR REPLACE FUNCTION task_tag(version bigint, updated_at timestamptz) RETURNS text LANGUAGE sql RETURN 'v'",
    "DROP FUNCTION iso_time",
    "ALTER TYPE task_content ADD ATTRIBUTE more text",
    "CREATE EXTENSION pg_trgm",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "ALTER SEQUENCE task_id_seq RESTART",
    "SELECT setval('task_id_seq', 1)",
    "SELECT after_restore()",
    "SET ROLE tasks_owner",
    "SET session_replication_role = replica",
    "SELECT pg_read_file('PG_VERSION')",
    "COPY task TO PROGRAM 'cat'",
]


def test_service_is_refused_when_it_would_change_the_schema(db: Sql) -> None:
    """The role of the services can neither drop, alter, truncate nor create anything."""
    migrate.migrate(db.owner_url, migrate.packaged(), print, role=ROLE)
    done = []
    with closing(psycopg.connect(db.url, autocommit=True)) as service:
        for statement in FORBIDDEN:
            try:
                service.execute(statement.encode())
                done.append(statement)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
                pass
    assert done == []


def test_everything_works_when_the_services_have_their_role(
    serve: Command, relay: Command, nats: Nats, db: Sql
) -> None:
    """Tasks are written, read and published, and old idempotency keys are pruned, without an error."""
    assert db.url != db.owner_url
    keys = b"INSERT INTO idempotency_key VALUES ('old', '', 1, '{}', now() - interval '2 days')"
    db.rows(keys)
    before = nats.last_sequence()
    with relay:
        wait_until(relay.is_ready)
        made = serve.request("POST", "/tasks", {"description": "x"}, **{"Idempotency-Key": "k"})
        url = made.headers["Location"]
        again = serve.request("POST", "/tasks", {"description": "x"}, **{"Idempotency-Key": "k"})
        assert (made.status, again.data) == (201, made.data)
        assert serve.request("PATCH", url, {"isDone": True}).status == 200
        assert serve.request("GET", "/tasks").json()["content"][0]["isDone"]
        assert serve.request("DELETE", url).status == 204
        wait_until(lambda: nats.last_sequence() == before + 3)
        wait_until(lambda: db.count_outbox() == 0)
        wait_until(lambda: not db.rows(b"SELECT FROM idempotency_key WHERE key = 'old'"))
        assert relay.is_ready()
    assert "InsufficientPrivilege" not in serve.log() + relay.log()


def grants_of(db: Sql) -> list[tuple[str, str]]:
    """Return the tables and what the services' role may do with each."""
    query = b"""
        SELECT table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)
        FROM information_schema.role_table_grants WHERE grantee = %s GROUP BY 1 ORDER BY 1
    """
    return [(table, privileges) for table, privileges in db.rows(query, ROLE)]


def test_grants_are_the_same_when_they_are_made_again(db: Sql) -> None:
    """A run grants what is missing, and takes away what is too much."""
    before = grants_of(db)
    assert dict(before) == dict.fromkeys(TABLES, "DELETE INSERT SELECT UPDATE") | {"schema_migration": "SELECT"}
    db.rows(b"GRANT ALL ON ALL TABLES IN SCHEMA public TO tasks; REVOKE SELECT ON task FROM tasks")
    told: list[str] = []
    migrate.migrate(db.owner_url, migrate.packaged(), told.append, role=ROLE)
    assert grants_of(db) == before
    assert told == ["nothing to apply", "granted tasks what the services use"]


def test_nothing_is_granted_when_the_role_owns_the_tables(db: Sql) -> None:
    """An installation with one role for everything goes on, and is told what to do."""
    told: list[str] = []
    migrate.migrate(db.owner_url, migrate.packaged(), told.append, role=OWNER)
    assert told[-1] == f"granted nothing: {OWNER} owns the tables; docs/operations.md, Roles of Postgres"


def test_migration_is_refused_when_there_is_no_role_for_the_services(db: Sql) -> None:
    """The sentence names the role."""
    with pytest.raises(MigrationError, match="no role nobody_here"):
        migrate.migrate(db.owner_url, migrate.packaged(), print, role="nobody_here")


def give_back(postgres: Postgres) -> None:
    """Make the database one from before the roles were apart."""
    with psycopg.connect(postgres.superuser_url.removesuffix("postgres") + "tasks", autocommit=True) as connection:
        connection.execute(f"REASSIGN OWNED BY {OWNER} TO {ROLE}")


def run_script(postgres: Postgres, folder: Path) -> None:
    """Run the script of Compose and Kubernetes with the passwords of this server."""
    script = ROLES_SQL.read_text(encoding="utf-8").replace("/run/secrets", str(folder / "secrets"))
    command = [str(postgres_program("psql")), "--no-psqlrc", "--quiet", postgres.superuser_url]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    subprocess.run(command, input=script, env=environment, text=True, check=True, timeout=stretched(60))


@pytest.mark.parametrize("by", ["make run", "the script"])
def test_tables_change_hands_when_they_are_from_before_the_roles_were_apart(
    background: LoopThread, tmp_path: Path, by: str
) -> None:
    """An older database goes to its owner; the services work meanwhile, and may do less once it is migrated."""
    with background.entered(Postgres(tmp_path)) as postgres:
        migrate.migrate(postgres.owner_url, migrate.packaged(), print)
        give_back(postgres)
        for _ in range(2):
            if by == "make run":
                background.run(postgres.wait_ready())
            else:
                run_script(postgres, tmp_path)
        with closing(Sql(postgres.url).connection) as service:
            service.execute("INSERT INTO task (description, is_done) VALUES ('x', false)")
            migrate.migrate(postgres.owner_url, migrate.packaged(), print, role=ROLE)
            assert service.execute("SELECT description FROM task").fetchall() == [("x",)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute("TRUNCATE task")
            service.rollback()
            owner = service.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'task'").fetchone()
        assert owner == (OWNER,)


def test_roles_are_made_when_the_volume_is_empty(background: LoopThread, tmp_path: Path) -> None:
    """The script makes what a server lacks, and may be run again."""
    with background.entered(Postgres(tmp_path)) as postgres:
        with psycopg.connect(postgres.superuser_url, autocommit=True) as connection:
            for statement in ("DROP DATABASE tasks", "DROP ROLE tasks", "DROP ROLE tasks_owner"):
                connection.execute(statement.encode())
        for _ in range(2):
            run_script(postgres, tmp_path)
        migrate.migrate(postgres.owner_url, migrate.packaged(), print, role=ROLE)
        with psycopg.connect(postgres.url) as service:
            assert service.execute("SELECT count(*) FROM task").fetchone() == (0,)
