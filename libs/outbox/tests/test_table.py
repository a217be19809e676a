"""The outbox table over the relay's own connection."""

from tests.testkit.deadlines import wait_until

from roots_outbox.database import Advance
from roots_outbox.table import PostgresOutbox

from .support import Table


def ids(advance: Advance) -> list[int]:
    """Return the ids of the rows that were read."""
    return [row.id for row in advance.rows]


async def test_acknowledged_rows_are_deleted_when_the_next_are_read(table: Table) -> None:
    """One statement deletes what the sink has, and returns the oldest of the rest, without held keys."""
    table.insert(*range(1, 7))
    outbox = await PostgresOutbox.open(table.source)
    steps = [
        ids(await outbox.advance([], held=[], limit=3)),
        ids(await outbox.advance([1, 2], held=[], limit=3)),
        ids(await outbox.advance([3, 4], held=["5"], limit=3)),
        ids(await outbox.advance([6], held=[], limit=0)),
    ]
    await outbox.close()
    assert [[1, 2, 3], [3, 4, 5], [6], []] == steps
    assert [5] == table.ids()


async def test_locked_row_is_left_when_it_is_acknowledged(table: Table) -> None:
    """What somebody else has locked is neither waited for nor read again; the statement names it."""
    table.insert(*range(1, 6))
    outbox = await PostgresOutbox.open(table.source)
    with table.connection.transaction():
        table.rows("SELECT 1 FROM {table} WHERE id = 2 FOR UPDATE")
        found = await outbox.advance([1, 2, 3], held=[], limit=10)
    await outbox.close()
    assert ([4, 5], [2]) == (ids(found), found.locked)


async def test_table_is_not_read_through_when_it_was_empty_before(table: Table) -> None:
    """A plan that was made for an empty table still goes by the index after an outage has filled it."""
    table.insert(1)
    table.rows("DELETE FROM {table}")
    table.rows("VACUUM ANALYZE {table}")
    outbox = await PostgresOutbox.open(table.source)
    for _ in range(20):
        await outbox.advance([1], held=[], limit=10)
    table.rows(
        "INSERT INTO {table} (path, ordering_key, message) SELECT 'tasks', n, 'x' FROM generate_series(1, 5000) AS n"
    )
    first = await outbox.advance([], held=[], limit=10)
    second = await outbox.advance(ids(first), held=[], limit=10)
    await outbox.close()
    assert 12 == second.rows[0].id
    counts = "SELECT n_tup_del, seq_tup_read FROM pg_stat_user_tables WHERE relid = %s::regclass"
    # The statistics of a session arrive after its end. The one row is the delete above.
    wait_until(lambda: table.rows(counts, table.source.table_name)[0][0] == 11)
    assert 1 == table.rows(counts, table.source.table_name)[0][1]
