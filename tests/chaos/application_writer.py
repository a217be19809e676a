"""One process of an application that knows nothing of Roots: it changes rows in transactions, and undoes some of them.

`python -m tests.chaos.application_writer` writes to the database that ROOTS_DATABASE_URL names, until it is killed.
Each change notes itself in a journal, in the same savepoint: the journal has what was committed, and nothing else.
"""

import contextlib
import os
import random
import time
import uuid

import psycopg

PER_SECOND = 2.0
AWAY_SECONDS = 0.2
CONNECT_SECONDS = 5
MAX_CHANGES = 3
MAX_ROWS = 3
ROOMS = 4
UNDONE_PART = 0.2
# A transaction that stays open: others commit meanwhile, or wait for its rows.
LATE_PART = 0.1
LATE_SECONDS = (0.1, 2.0)

INSERT = """
WITH changed AS (
    INSERT INTO item (room, mark) SELECT %(room)s, %(mark)s FROM generate_series(1, %(count)s) RETURNING *
)
INSERT INTO journal SELECT id, room, version, mark, false FROM changed
"""
UPDATE = """
WITH changed AS (
    UPDATE item SET version = version + 1, mark = %(mark)s
    WHERE id IN (SELECT id FROM item ORDER BY random() LIMIT %(count)s) RETURNING *
)
INSERT INTO journal SELECT id, room, version, mark, false FROM changed
"""
DELETE = """
WITH changed AS (
    DELETE FROM item WHERE id IN (SELECT id FROM item ORDER BY random() LIMIT %(count)s) RETURNING *
)
INSERT INTO journal SELECT id, room, version + 1, %(mark)s, true FROM changed
"""
# As many rows come as go.
STATEMENTS = {INSERT: 3, UPDATE: 6, DELETE: 3}


def main() -> None:
    """Write for ever; begin again when the database was away, or has ended a transaction that blocked another."""
    chance = random.Random()  # noqa: S311  # guards nothing
    while True:
        with contextlib.suppress(psycopg.Error), _connect() as connection:
            while True:
                _write(connection, chance)
                time.sleep(chance.expovariate(PER_SECOND))
        time.sleep(AWAY_SECONDS)


def _connect() -> psycopg.Connection:
    return psycopg.connect(os.environ["ROOTS_DATABASE_URL"], autocommit=True, connect_timeout=CONNECT_SECONDS)


def _write(connection: psycopg.Connection, chance: random.Random) -> None:
    """Run one transaction of several changes; some of its savepoints are undone, or all of it."""
    with connection.transaction():
        for _ in range(chance.randint(1, MAX_CHANGES)):
            with connection.transaction():
                _change(connection, chance)
                _undo_some(chance)
        if chance.random() < LATE_PART:
            time.sleep(chance.uniform(*LATE_SECONDS))
        _undo_some(chance)


def _change(connection: psycopg.Connection, chance: random.Random) -> None:
    statement = chance.choices(list(STATEMENTS), list(STATEMENTS.values()))[0]
    # No mark comes twice, also when this process is started again.
    values = {"mark": uuid.uuid4().hex, "room": chance.randrange(ROOMS), "count": chance.randint(1, MAX_ROWS)}
    connection.execute(statement.encode(), values)


def _undo_some(chance: random.Random) -> None:
    if chance.random() < UNDONE_PART:
        raise psycopg.Rollback


if __name__ == "__main__":
    main()
