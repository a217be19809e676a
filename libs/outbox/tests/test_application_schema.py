"""The schema `roots` in an application's own database: what its functions write, and in which order."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from cornelius.messages import REVOCATIONS
from roots_outbox.application import schema
from roots_outbox.application.schema import Connection, SchemaError

from .support import take


def test_schema_is_the_same_when_it_is_installed_again(connection: Connection) -> None:
    """What waits stays; an upgrade is the same command."""
    connection.execute("SELECT roots.publish('tasks', '1')")
    assert 0 == schema.install(connection)
    assert [("tasks", 1)] == take(connection)


def test_revocation_is_refused_when_the_back_end_api_would_refuse_it(connection: Connection) -> None:
    """The statement fails, and not the event hours later: the right would stay meanwhile."""
    for named in ("", "subject => 'ann', uid => 'u'", "subject => 'ann', path => 'rooms/7', uid => 'u'"):
        with pytest.raises(psycopg.DataError, match="give a subject"):
            connection.execute(f"SELECT roots.revoke({named})")
    assert [] == take(connection)


def test_schema_is_whole_when_two_install_it_at_one_moment(url: str) -> None:
    """One of them creates it, the other finds it."""
    steps: list[int] = []

    def install() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            steps.append(schema.install(connection))

    threads = [threading.Thread(target=install) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [0, 0, 0, 1] == sorted(steps)


def test_install_is_refused_when_the_schema_is_newer_or_anothers(connection: Connection) -> None:
    """An older program does not touch what it does not know."""
    connection.execute("UPDATE roots.schema_version SET version = 99")
    with pytest.raises(SchemaError, match="version 99"):
        schema.install(connection)
    connection.execute("DROP SCHEMA roots CASCADE")
    connection.execute("CREATE SCHEMA roots")
    with pytest.raises(SchemaError, match="not of this program"):
        schema.install(connection)


def test_triggers_are_gone_when_the_schema_is_removed(connection: Connection) -> None:
    """What waits is not dropped unless it is asked for."""
    connection.execute("""SELECT roots.watch('"To do"', 'tasks')""")
    connection.execute("""INSERT INTO "To do" VALUES (1)""")
    with pytest.raises(SchemaError, match="1 events wait"):
        schema.uninstall(connection)
    schema.uninstall(connection, loses_events=True)
    connection.execute("""INSERT INTO "To do" VALUES (2)""")
    with pytest.raises(SchemaError, match="install it"):
        schema.status(connection)


@pytest.mark.parametrize("command", [schema.status, schema.retry, schema.uninstall])
def test_command_names_what_is_missing_when_nothing_is_installed(
    url: str, command: Callable[[Connection], Any]
) -> None:
    """One sentence for the operator."""
    with psycopg.connect(url, autocommit=True) as connection, pytest.raises(SchemaError, match="install it"):
        command(connection)


def test_event_is_there_when_its_transaction_commits(connection: Connection) -> None:
    """I11: with a rollback, of the whole or to a savepoint, nothing is published."""
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT roots.publish('tasks', '1')")
    with connection.transaction():
        connection.execute("SELECT roots.publish('tasks', '2')")
        with connection.transaction(force_rollback=True):
            connection.execute("SELECT roots.publish('tasks', '3')")
        connection.execute("SELECT roots.publish('users/7', jsonb_build_object('a', 4))")
    assert [("tasks", 2), ("users/7", {"a": 4})] == take(connection)


@pytest.mark.parametrize(
    "call", ["publish(NULL, '1')", "publish('tasks', NULL::text)", "publish('tasks', NULL::jsonb)", "revoke()"]
)
def test_call_is_refused_when_it_names_nothing(connection: Connection, call: str) -> None:
    """It is a mistake in the application's code, and its transaction is told so."""
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        connection.execute(f"SELECT roots.{call}".encode())


def test_revocation_stands_between_what_was_written_before_and_after_it(connection: Connection) -> None:
    """The relay does all in this order."""
    with connection.transaction():
        connection.execute("SELECT roots.publish('rooms/7', '1')")
        connection.execute("SELECT roots.revoke(subject => 'ann', path => 'rooms/7')")
        connection.execute("SELECT roots.publish('rooms/7', '2')")
    revocation = (REVOCATIONS, {"subject": "ann", "path": "rooms/7"})
    assert [("rooms/7", 1), revocation, ("rooms/7", 2)] == take(connection)


def test_messages_of_a_key_have_commit_order_when_an_earlier_writer_commits_late(
    connection: Connection, url: str
) -> None:
    """I2: who writes first and commits last, comes last."""
    with psycopg.connect(url) as late:
        late.execute("SELECT roots.publish('tasks', '1')")
        connection.execute("SELECT roots.publish('tasks', '2')")
        late.execute("SELECT roots.publish('tasks', '3')")
    assert [("tasks", 2), ("tasks", 1), ("tasks", 3)] == take(connection)


def test_writers_do_not_wait_for_each_other_for_ever_when_their_keys_come_in_any_order(
    connection: Connection, url: str
) -> None:
    """No transaction is ended as a deadlock, and each key has its messages in commit order."""
    paths = [f"rooms/{number}" for number in range(5)]
    faults: list[BaseException] = []

    def write(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311  # no secret
        try:
            with psycopg.connect(url) as own:
                for _ in range(30):
                    for path in chance.sample(paths, 3):
                        # The counter's lock makes the order of commits known.
                        own.execute("SELECT roots.publish(%s, '0')", [path])
                    own.commit()
        except BaseException as error:  # noqa: BLE001  # for the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=write, args=[seed]) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == faults
    assert 8 * 30 * 3 == len(take(connection))


def test_transaction_commits_when_it_has_more_keys_than_the_server_has_locks(connection: Connection) -> None:
    """Postgres has memory for some thousands; a lock for each key would end the transaction."""
    with connection.transaction():
        connection.execute("SELECT count(roots.publish('p' || n, '{}')) FROM generate_series(1, 12000) AS n")
    assert 12000 == len(take(connection))


def test_commit_takes_time_in_proportion_to_its_messages_when_these_are_many(connection: Connection) -> None:
    """Ten times as many take less than forty times as long; in proportion to the square it would be a hundred."""

    def seconds(count: int) -> float:
        began = time.perf_counter()
        connection.execute("SELECT roots.publish('tasks', n::text) FROM generate_series(1, %s) AS n", [count])
        return time.perf_counter() - began

    seconds(10)
    assert seconds(10_000) < 40 * min(seconds(1_000) for _ in range(3))
    assert list(range(1, 11)) == [message for _, message in take(connection)][:10]
