"""The hints that `serve` gives the relay after its commits."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from tests.testkit.deadlines import DEADLINE_SECONDS, stretched

from roots_tasks.storage.database import Database
from roots_tasks.storage.notifier import PACE_SECONDS, RelayNotifier

from ..support import Command, Sql


def listen(db: Sql) -> None:
    """Receive the hints from now on."""
    db.rows(b"LISTEN roots_outbox")


def wait_for_hint(db: Sql) -> bool:
    """Tell whether a hint came before the deadline."""
    return any(True for _ in db.connection.notifies(timeout=stretched(DEADLINE_SECONDS), stop_after=1))


def test_hint_is_given_when_a_change_was_committed(serve: Command, db: Sql) -> None:
    """Each change by itself is hinted: created, updated, deleted."""
    listen(db)
    for method, path, body in [
        ("POST", "/tasks", {"description": "x"}),
        ("PATCH", "/task/1", {"isDone": True}),
        ("DELETE", "/task/1", None),
    ]:
        assert serve.request(method, path, body).status < 300
        assert wait_for_hint(db)


def test_hints_are_few_when_changes_are_many(serve: Command, db: Sql) -> None:
    """However many changes are committed, hints keep their distance; the last one comes after the last change."""
    listen(db)
    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: serve.request("POST", "/tasks", {"description": "x"}).status, range(200)))
    assert statuses == [201] * 200
    assert serve.stop() == 0
    hints = len(list(db.connection.notifies(timeout=0)))
    assert 1 <= hints <= 2 + (time.monotonic() - began) / PACE_SECONDS


def test_hint_is_given_when_it_was_requested_before_the_end(shared_db: Sql, database: Database) -> None:
    """A service that stops gives the hint for what it committed last."""
    listen(shared_db)
    notifier = RelayNotifier(database)
    notifier.start()
    with closing(notifier):
        notifier.notify()
        assert wait_for_hint(shared_db)
        notifier.notify()
    assert wait_for_hint(shared_db)
    shared_db.rows(b"UNLISTEN roots_outbox")
