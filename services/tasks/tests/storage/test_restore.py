"""A backup of Postgres that is restored, with the programs and the steps of docs/operations.md."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.testkit.deadlines import stretched, wait_until

from roots_devstack.processes.programs import postgres_program
from roots_tasks.storage.database import Database
from roots_tasks.storage.store import Store
from roots_tasks.tasks import Change, Draft, Task

from ..support import Sql

SECONDS = 60.0


def run(program: str, *arguments: str) -> None:
    """Run a program of Postgres."""
    command = [str(postgres_program(program)), *arguments]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    subprocess.run(command, env=environment, check=True, timeout=stretched(SECONDS))


class Backup:
    """A dump of a database, which can be put back in its place."""

    def __init__(self, url: str, file: Path) -> None:
        self._url = url
        self._file = str(file)
        run("pg_dump", "--format=custom", f"--file={file}", url)

    def restore(self) -> None:
        """Put everything back as it was."""
        run("pg_restore", "--clean", "--if-exists", "--single-transaction", f"--dbname={self._url}", self._file)


@pytest.fixture
def own_store(database_url: str) -> Iterator[Store]:
    """Return the tasks of a database of the test's own."""
    database = Database(database_url, max_connections=4)
    database.open()
    with closing(database):
        wait_until(lambda: database.check().is_ok)
        yield Store(database, lambda: None)


def create(store: Store, description: str, key: str | None = None) -> Task:
    """Create a task."""
    return store.create(Draft(description=description, is_done=False), key=key).task


def test_ids_and_versions_are_above_those_given_when_a_backup_was_restored(
    own_store: Store, db: Sql, tmp_path: Path
) -> None:
    """What comes after the restore is newer than what clients have from before it, and no tag is given twice."""
    kept = create(own_store, "kept")
    backup = Backup(db.owner_url, tmp_path / "tasks.dump")
    changed = own_store.update(kept.id, Change(description="changed", is_done=None)).task
    lost = [create(own_store, f"lost {number}") for number in range(3)]
    last_event = db.value(b"SELECT max(id) FROM outbox")
    backup.restore()
    assert own_store.read(kept.id).tag == kept.tag
    db.rows(b"SELECT after_restore()")

    restored, new = own_store.read(kept.id), create(own_store, "new")
    assert restored.version > changed.version
    assert new.id > lost[-1].id
    assert db.value(b"SELECT max(id) FROM outbox") > last_event
    assert len({restored.tag, kept.tag, changed.tag, new.tag, *(task.tag for task in lost)}) == 7


def test_answers_and_events_are_those_of_the_backup_when_it_was_restored(
    own_store: Store, db: Sql, tmp_path: Path
) -> None:
    """A retry of what was kept is answered, one of what is lost is done again, and events wait under their old ids."""
    kept = create(own_store, "kept", key="kept")
    events = db.rows(b"SELECT id, event_id FROM outbox")
    backup = Backup(db.owner_url, tmp_path / "tasks.dump")
    lost = create(own_store, "lost", key="lost")
    backup.restore()
    db.rows(b"SELECT after_restore()")

    assert create(own_store, "kept", key="kept") == kept
    assert create(own_store, "lost", key="lost").id > lost.id
    assert db.rows(b"SELECT id, event_id FROM outbox ORDER BY id")[:1] == events


@pytest.mark.parametrize("skipped", [0, -1])
def test_step_is_refused_when_it_would_skip_nothing(db: Sql, skipped: int) -> None:
    """A number below 1 would give ids again."""
    with pytest.raises(Exception, match="skipped must be 1 or more"):
        db.rows(b"SELECT after_restore(%s)", skipped)
