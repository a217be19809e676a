"""The outbox table over the relay's own connection."""

import asyncio

from roots_devstack.deadlines import wait_until
from roots_tasks.outbox import Advance, Outbox

from .support import Sql

INSERT = b"INSERT INTO outbox (path, task_id, message) SELECT 'tasks', n, 'x' FROM generate_series(1, %s) AS n"


def ids(advance: Advance) -> list[int]:
    """Return the ids of the rows that were read."""
    return [row.id for row in advance.rows]


def test_acknowledged_rows_are_deleted_when_the_next_are_read(db: Sql) -> None:
    """One statement deletes what the stream has, and returns the oldest of the rest, without held tasks."""
    db.rows(INSERT, 6)

    async def advance() -> list[list[int]]:
        outbox = await Outbox.open(db.url)
        steps = [
            ids(await outbox.advance([], held=[], limit=3)),
            ids(await outbox.advance([1, 2], held=[], limit=3)),
            ids(await outbox.advance([3, 4], held=[5], limit=3)),
            ids(await outbox.advance([6], held=[], limit=0)),
        ]
        await outbox.close()
        return steps

    assert asyncio.run(advance()) == [[1, 2, 3], [3, 4, 5], [6], []]
    assert db.rows(b"SELECT id FROM outbox") == [(5,)]


def test_locked_row_is_left_when_it_is_acknowledged(db: Sql) -> None:
    """What somebody else has locked is neither waited for nor read again; the statement names it."""
    db.rows(INSERT, 5)
    holder = Sql(db.url)

    async def advance() -> Advance:
        outbox = await Outbox.open(db.url)
        found = await outbox.advance([1, 2, 3], held=[], limit=10)
        await outbox.close()
        return found

    with holder.connection, holder.connection.transaction():
        holder.rows(b"SELECT 1 FROM outbox WHERE id = 2 FOR UPDATE")
        found = asyncio.run(advance())
    assert (ids(found), found.locked) == ([4, 5], [2])


def test_table_is_not_read_through_when_it_was_empty_before(db: Sql) -> None:
    """A plan that was made for an empty table still goes by the index after an outage has filled it."""
    db.rows(INSERT, 1)
    db.rows(b"DELETE FROM outbox")
    db.rows(b"VACUUM ANALYZE outbox")

    async def advance() -> int:
        outbox = await Outbox.open(db.url)
        for _ in range(20):
            await outbox.advance([1], held=[], limit=10)
        db.rows(INSERT, 5000)
        first = await outbox.advance([], held=[], limit=10)
        second = await outbox.advance(ids(first), held=[], limit=10)
        await outbox.close()
        return second.rows[0].id

    assert asyncio.run(advance()) == 12
    counts = b"SELECT n_tup_del, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'outbox'"
    # The statistics of a session arrive after its end. The one row is the delete above.
    wait_until(lambda: db.rows(counts)[0][0] == 11)
    assert db.rows(counts)[0][1] == 1
