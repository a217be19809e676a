"""Tables of an application that are watched: which of their changes are published, and how."""

import json

import psycopg
import pytest

from cornelius.messages import RENDERINGS, REVOCATIONS
from roots_devstack.servers.postgres import Postgres
from roots_outbox.application import schema
from roots_outbox.application.schema import Connection

from .support import take


def test_row_is_published_when_it_is_inserted_changed_and_deleted(connection: Connection) -> None:
    """By the names of its columns, whatever they are; also by COPY, an upsert and a bulk statement."""
    connection.execute("""SELECT roots.watch('"To do"', 'tasks')""")
    connection.execute("""INSERT INTO "To do" VALUES (1, false, 'a'), (2, true, NULL)""")
    first, second = take(connection)
    assert ("tasks", {"id": 1, "is done": False, "100%": "a", "owner": None}) == first
    assert ("tasks", {"id": 2, "is done": True, "100%": None, "owner": None}) == second
    connection.execute("""INSERT INTO "To do" VALUES (1), (3) ON CONFLICT (id) DO UPDATE SET owner = 7""")
    assert {(1, 7), (3, None)} == {(message["id"], message["owner"]) for _, message in take(connection)}
    connection.execute("""DELETE FROM "To do" WHERE id < 3""")
    assert [{"id": 1, "DELETE": True}, {"id": 2, "DELETE": True}] == [message for _, message in take(connection)]
    with connection.cursor().copy("""COPY "To do" (id) FROM STDIN""") as copy:
        copy.write_row([4])
    assert [4] == [message["id"] for _, message in take(connection)]
    connection.execute('TRUNCATE "To do"')
    assert {3, 4} == {message["id"] for _, message in take(connection) if message["DELETE"]}


def test_row_leaves_its_old_path_when_the_column_of_the_path_changes(connection: Connection) -> None:
    """A row without the column has no path."""
    connection.execute("""SELECT roots.watch('"To do"', 'users/{owner}/tasks', '["id"]')""")
    connection.execute("""INSERT INTO "To do" (id, owner) VALUES (1, 7), (2, NULL)""")
    connection.execute("""UPDATE "To do" SET owner = 8 WHERE id = 1""")
    connection.execute("""UPDATE "To do" SET id = 5 WHERE id = 1""")
    connection.execute("""UPDATE "To do" SET owner = NULL""")
    assert [
        ("users/7/tasks", {"id": 1}),
        ("users/7/tasks", {"id": 1, "DELETE": True}),
        ("users/8/tasks", {"id": 1}),
        ("users/8/tasks", {"id": 1, "DELETE": True}),
        ("users/8/tasks", {"id": 5}),
        ("users/8/tasks", {"id": 5, "DELETE": True}),
    ] == take(connection)


def test_row_stays_on_its_path_when_its_key_is_null(connection: Connection) -> None:
    """A key that the watch names may be of columns without NOT NULL."""
    connection.execute("""SELECT roots.watch('"To do"', 'tasks', '["id", "owner"]', ARRAY['owner'])""")
    connection.execute("""INSERT INTO "To do" (id) VALUES (1)""")
    connection.execute("""UPDATE "To do" SET id = 2""")
    assert [{"id": 1, "owner": None}, {"id": 2, "owner": None}] == [message for _, message in take(connection)]


def test_row_leaves_its_old_path_when_a_null_moves_in_its_key(connection: Connection) -> None:
    """Two keys of the same values, one of them null, are different."""
    connection.execute("""SELECT roots.watch('"To do"', 'tasks', '["id"]', ARRAY['owner', '100%'])""")
    connection.execute("""INSERT INTO "To do" (id, owner) VALUES (1, 7)""")
    connection.execute("""UPDATE "To do" SET owner = NULL, "100%" = '7'""")
    assert [{"id": 1}, {"owner": 7, "100%": None, "DELETE": True}, {"id": 1}] == [
        message for _, message in take(connection)
    ]


def test_rows_have_different_ids_when_one_statement_changes_many(connection: Connection) -> None:
    """Roots drops what comes with an id that it has seen."""
    connection.execute("""SELECT roots.watch('"To do"', 'tasks')""")
    for change in ('INSERT INTO "To do" (id) SELECT generate_series(1, 300)', 'UPDATE "To do" SET id = -id'):
        connection.execute(change.encode())
    ids = [event_id for (event_id,) in connection.execute("SELECT event_id FROM roots.outbox").fetchall()]
    assert {4} == {event_id.version for event_id in ids}
    assert 900 == len(set(ids))


@pytest.mark.parametrize("columns", [None, ["@row@", "@table@", "%s", "roots_new", "changed", "o'{\\"]])
def test_row_is_published_whole_when_its_columns_have_names_that_the_triggers_use(
    connection: Connection, columns: list[str] | None
) -> None:
    """A name is never taken for a part of the statement."""
    connection.execute(
        b"""CREATE TABLE "@table@ %s'" ("@row@" integer PRIMARY KEY, "@table@" integer, "%s" integer,
                                       roots_new integer, changed integer, "o'{\\" integer)"""
    )
    # Each argument is bound: the names have what a statement of psycopg would read as a placeholder.
    connection.execute(
        "SELECT roots.watch(%s, %s, %s::jsonb)",
        ['"@table@ %s\'"', "@table@/{%s}/{@row@}", columns and json.dumps(columns)],
    )
    connection.execute(b"""INSERT INTO "@table@ %s'" VALUES (1, 2, 3, 4, 5, 6)""")
    connection.execute(b"""UPDATE "@table@ %s'" SET "@row@" = 7""")
    connection.execute(b"""TRUNCATE "@table@ %s'" """)
    row = {"@row@": 1, "@table@": 2, "%s": 3, "roots_new": 4, "changed": 5, "o'{\\": 6}
    assert [
        ("@table@/3/1", row),
        ("@table@/3/1", {"@row@": 1, "DELETE": True}),
        ("@table@/3/7", row | {"@row@": 7}),
        ("@table@/3/7", {"@row@": 7, "DELETE": True}),
    ] == take(connection)


@pytest.mark.parametrize("columns", [None, '["id", "document"]'])
def test_row_is_published_when_its_json_has_what_jsonb_has_not(connection: Connection, columns: str | None) -> None:
    """The application's statement never fails by what it stores."""
    connection.execute("CREATE TABLE documents (id integer PRIMARY KEY, document json)")
    connection.execute("SELECT roots.watch('documents', 'documents', %s::jsonb)", [columns])
    connection.execute("""INSERT INTO documents VALUES (1, '{"text": "\\u0000"}')""")
    assert [("documents", {"id": 1, "document": {"text": "\0"}})] == take(connection)


def test_watch_is_refused_when_it_needs_a_virtual_column(connection: Connection) -> None:
    """Triggers do not see these; the other columns can be watched."""
    connection.execute("CREATE TABLE sums (id integer PRIMARY KEY, twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL)")
    with pytest.raises(psycopg.Error, match="name the other columns"):
        connection.execute("SELECT roots.watch('sums', 'sums')")
    with pytest.raises(psycopg.Error, match="that is stored"):
        connection.execute("SELECT roots.watch('sums', 'sums/{twice}', '[\"id\"]')")
    connection.execute("SELECT roots.watch('sums', 'sums', '[\"id\"]')")
    connection.execute("INSERT INTO sums VALUES (1)")
    assert [("sums", {"id": 1})] == take(connection)


def test_row_is_published_when_the_watch_names_more_columns_than_a_function_takes(connection: Connection) -> None:
    """A function of Postgres takes at most 100 arguments."""
    columns = {f"column{number}": number for number in range(150)}
    definitions = ", ".join(f"{name} integer DEFAULT {number}" for name, number in columns.items())
    connection.execute(f"CREATE TABLE wide (id integer PRIMARY KEY, {definitions})".encode())
    connection.execute("SELECT roots.watch('wide', 'wide', %s::jsonb)", [json.dumps(list(columns))])
    connection.execute("INSERT INTO wide VALUES (1)")
    assert [("wide", columns)] == take(connection)


@pytest.mark.parametrize("path", [REVOCATIONS, RENDERINGS])
def test_row_is_no_order_to_the_relay_when_a_column_gives_its_path(connection: Connection, path: str) -> None:
    """Who may write a row, or publish, can neither revoke by it, nor make the relay wait for Django."""
    connection.execute(b"""SELECT roots.watch('"To do"', '{100%}', '{"100%": "path"}', ARRAY['id'])""")
    connection.execute("""INSERT INTO "To do" (id, "100%%") VALUES (1, %s), (2, 'tasks')""", [path])
    with pytest.raises(psycopg.Error, match=r"call roots\.revoke"):
        connection.execute("SELECT roots.publish(%s, '{}')", [path])
    with pytest.raises(psycopg.Error, match=r"must be a path"):
        connection.execute("SELECT roots.watch('\"To do\"', %s)", [path])
    assert [("tasks", {"path": "tasks"})] == take(connection)


def test_columns_have_other_names_when_the_watch_says_so(connection: Connection) -> None:
    """A deletion has the key by its new name too."""
    connection.execute(
        """SELECT roots.watch('"To do"', 'tasks', '{"id": "guid", "is done": "isDone", "100%": "share"}')"""
    )
    connection.execute("""INSERT INTO "To do" VALUES (1, true, 'x')""")
    connection.execute('DELETE FROM "To do"')
    assert [{"guid": 1, "isDone": True, "share": "x"}, {"guid": 1, "DELETE": True}] == [
        message for _, message in take(connection)
    ]


def test_partitions_are_published_once_when_a_statement_is_for_them_or_for_the_whole(connection: Connection) -> None:
    """Also when a change moves a row to another partition."""
    connection.execute("CREATE TABLE log (id integer, day integer, PRIMARY KEY (id, day)) PARTITION BY LIST (day)")
    connection.execute("CREATE TABLE log_1 PARTITION OF log FOR VALUES IN (1)")
    connection.execute("CREATE TABLE log_2 PARTITION OF log FOR VALUES IN (2)")
    connection.execute("SELECT roots.watch('log', 'log')")
    connection.execute("INSERT INTO log VALUES (1, 1), (2, 2)")
    connection.execute("INSERT INTO log_1 VALUES (3, 1)")
    assert [1, 2, 3] == [message["id"] for _, message in take(connection)]
    connection.execute("UPDATE log SET day = 2 WHERE id = 1")
    assert [{"id": 1, "day": 1, "DELETE": True}, {"id": 1, "day": 2}] == [message for _, message in take(connection)]
    connection.execute("TRUNCATE log")
    assert 3 == len(take(connection))


def test_tables_that_inherit_are_published_once_when_a_statement_is_for_them_or_for_the_whole(
    connection: Connection,
) -> None:
    """A row of theirs has their columns too, when the statement is for them."""
    connection.execute("CREATE TABLE animals (id integer PRIMARY KEY)")
    connection.execute("CREATE TABLE cats (PRIMARY KEY (id), lives integer) INHERITS (animals)")
    connection.execute("SELECT roots.watch('animals', 'animals')")
    connection.execute("INSERT INTO animals VALUES (1)")
    connection.execute("INSERT INTO cats VALUES (2, 9)")
    assert [{"id": 1}, {"id": 2, "lives": 9}] == [message for _, message in take(connection)]
    connection.execute("TRUNCATE animals")
    assert [{"id": 1, "DELETE": True}, {"id": 2, "DELETE": True}] == sorted(
        (message for _, message in take(connection)), key=lambda message: int(message["id"])
    )


def test_watch_is_forgotten_when_its_table_was_dropped(connection: Connection) -> None:
    """Its functions go when another watch begins."""
    functions = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'watch\\_%'"
    connection.execute("CREATE TABLE short_lived (id integer PRIMARY KEY)")
    connection.execute("SELECT roots.watch('short_lived', 'tasks')")
    connection.execute("DROP TABLE short_lived")
    assert [] == schema.status(connection).watched
    connection.execute("""SELECT roots.watch('"To do"', 'tasks')""")
    assert (4,) == connection.execute(functions.encode()).fetchone()
    schema.uninstall(connection)


def test_watch_is_replaced_or_ended_when_it_is_asked_for_again(connection: Connection) -> None:
    """A table may be watched for several paths."""
    for path in ("tasks", "tasks", "other"):
        connection.execute("""SELECT roots.watch('"To do"', %s)""", [path])
    connection.execute("""INSERT INTO "To do" VALUES (1)""")
    assert ["tasks", "other"] == [path for path, _ in take(connection)]
    assert [('"To do"', "tasks"), ('"To do"', "other")] == schema.status(connection).watched
    assert (1,) == connection.execute("""SELECT roots.unwatch('"To do"', 'tasks')""").fetchone()
    assert (1,) == connection.execute("""SELECT roots.unwatch('"To do"')""").fetchone()
    connection.execute("""INSERT INTO "To do" VALUES (2)""")
    assert [] == take(connection)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("'keyless', 'tasks'", "no primary key"),
        ("'seen', 'tasks'", "not a table"),
        ("""'"To do"', 'users/{nobody}'""", 'no column "nobody"'),
        ("""'"To do"', 'tasks', '["nothing"]'""", 'no column "nothing"'),
        ("""'"To do"', 'tasks', NULL, ARRAY['none']""", 'no column "none"'),
        ("""'"To do"', 'tasks', NULL, ARRAY['id', NULL]""", 'no column "<NULL>"'),
        ("""'"To do"', 'users/{owner'""", "must be a path"),
        ("""'"To do"', NULL""", "must be a path"),
        ("""'"To do"', '::revoke'""", "must be a path"),
        ("""'"To do"', 'tasks', '[]'""", "must be names"),
        ("""'"To do"', 'tasks', '"id"'""", "must be names"),
        ("""'"To do"', 'tasks', '{"id": null}'""", "must be names"),
        ("""'"To do"', 'tasks', '[null]'""", "must be names"),
        ("""'"To do"', 'tasks', '{"id": "x", "owner": "x"}'""", "must be names"),
        ("'roots.outbox', 'tasks'", "not a table of the application"),
        ("NULL, 'tasks'", "not a table of the application"),
    ],
)
def test_watch_is_refused_when_it_names_what_is_not_there(
    connection: Connection, arguments: str, expected: str
) -> None:
    """One sentence says what is wrong; nothing is changed."""
    connection.execute("CREATE TABLE keyless (a integer)")
    connection.execute('CREATE VIEW seen AS SELECT * FROM "To do"')
    with pytest.raises(psycopg.Error, match=expected):
        connection.execute(f"SELECT roots.watch({arguments})".encode())
    assert [] == schema.status(connection).watched


def test_application_writes_without_rights_on_the_outbox_when_its_table_is_watched(
    connection: Connection, postgres: Postgres, url: str
) -> None:
    """The role may not publish by itself, unless it is granted that."""
    connection.execute("""SELECT roots.watch('"To do"', 'tasks')""")
    connection.execute("""GRANT INSERT ON "To do" TO tasks""")
    name = url.rpartition("/")[2]
    with psycopg.connect(postgres.url.removesuffix("/tasks") + f"/{name}", autocommit=True) as application:
        application.execute("""INSERT INTO "To do" VALUES (1)""")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute("SELECT roots.publish('tasks', '1')")
    assert 1 == len(take(connection))
