"""The tasks in Postgres: every use case is one statement, hence one transaction and one round trip.

Owns the tables `task` and `idempotency_key`, and writes `outbox`. Promises: a committed change has its outbox row, a
change that failed has none (I11); the outbox rows of one task have ids in commit order, because the row of the task is
locked before the outbox row is inserted (I2). May import: psycopg, database, tasks, errors.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import psycopg

from roots_tasks.errors import KeyReusedError, StoreUnavailableError, TaskNotFoundError, VersionMismatchError
from roots_tasks.storage.database import Connection, Database
from roots_tasks.tasks import PATH, Change, Draft, Page, Task

# Who sends no token, in the column `subject`: no token's subject is empty.
NOBODY = ""
# A page of the list, so that clients who read slowly can't fill the memory.
MAX_PAGE_BYTES = 512 << 10

# list: the tasks after one, by id, as one text: as many as asked for, and as long as those before take no more than so
# many bytes; one at least. One more than asked for is looked at, and shows whether there is a next page. One row.
_LIST = """
WITH found AS (
    SELECT id, task_content(id, description, is_done, version, created_at, updated_at) AS content
    FROM task WHERE id > %(after)s ORDER BY id LIMIT %(limit)s + 1
), measured AS (
    SELECT id, content, sum(octet_length(content) + 1) OVER (ORDER BY id) AS bytes,
           row_number() OVER (ORDER BY id) AS place
    FROM found
)
SELECT coalesce(string_agg(content, ',' ORDER BY id), ''),
       CASE WHEN count(*) < (SELECT count(*) FROM found) THEN max(id) END
FROM measured WHERE place <= %(limit)s AND (bytes <= %(max_bytes)s OR place = 1)
"""

# read: one task.
_READ = """
SELECT id, version, task_tag(version, updated_at),
       task_content(id, description, is_done, version, created_at, updated_at)
FROM task WHERE id = %(id)s
"""

# create: a task, its event, and the answer under its idempotency key when there is one. A key that is taken fails the
# statement as a whole, after waiting for the transaction that takes it: so two requests at once make one task.
_CREATE = """
WITH created AS (
    INSERT INTO task (description, is_done) VALUES (%(description)s, %(is_done)s)
    RETURNING id, version, task_tag(version, updated_at) AS tag,
              task_content(id, description, is_done, version, created_at, updated_at) AS content
), event AS (
    INSERT INTO outbox (path, ordering_key, message, traceparent)
    SELECT %(path)s, id, content, %(traceparent)s FROM created
), answer AS (
    INSERT INTO idempotency_key (subject, key, request_digest, task_id, content)
    SELECT %(subject)s, %(key)s, %(digest)s, id, content FROM created WHERE %(key)s::text IS NOT NULL
)
SELECT id, version, tag, content FROM created
"""

# first answer: what the request that took an idempotency key was answered; a new task has version 1. An answer from
# before tasks had tags gets one that is of no state.
_FIRST_ANSWER = """
SELECT request_digest, task_id, 1, coalesce(content::json ->> 'tag', 'v1'), content
FROM idempotency_key WHERE subject = %(subject)s AND key = %(key)s
"""

# update: lock the task, then compare with what is locked (not with what the statement saw at its start: another change
# may have been committed while it waited for the lock), then change it and write its event.
_UPDATE = """
WITH before AS (
    SELECT id, description, is_done, version, created_at, updated_at FROM task WHERE id = %(id)s FOR UPDATE
), wanted AS (
    SELECT id, version,
           coalesce(%(description)s::text, description) AS description,
           coalesce(%(is_done)s::boolean, is_done) AS is_done,
           %(tags)s::text[] IS NULL OR task_tag(version, updated_at) = ANY (%(tags)s::text[]) AS is_current
    FROM before
), after AS (
    UPDATE task SET description = wanted.description, is_done = wanted.is_done,
                    version = wanted.version + 1, updated_at = clock_timestamp()
    FROM wanted JOIN before USING (id)
    WHERE task.id = wanted.id AND wanted.is_current
      AND (before.description, before.is_done) IS DISTINCT FROM (wanted.description, wanted.is_done)
    RETURNING task.id, task.version, task_tag(task.version, task.updated_at) AS tag,
              task_content(task.id, task.description, task.is_done, task.version, task.created_at, task.updated_at)
                  AS content
), event AS (
    INSERT INTO outbox (path, ordering_key, message, traceparent)
    SELECT %(path)s, id, content, %(traceparent)s FROM after
)
SELECT wanted.is_current, after.id IS NOT NULL,
       before.id, coalesce(after.version, before.version),
       coalesce(after.tag, task_tag(before.version, before.updated_at)),
       coalesce(after.content, task_content(before.id, before.description, before.is_done, before.version,
                                            before.created_at, before.updated_at))
FROM before JOIN wanted USING (id) LEFT JOIN after USING (id)
"""

# delete: lock the task, then delete it and write its event, whose version is newer than any before.
_DELETE = """
WITH before AS (
    SELECT id, version, updated_at FROM task WHERE id = %(id)s FOR UPDATE
), deleted AS (
    DELETE FROM task USING before
    WHERE task.id = before.id
      AND (%(tags)s::text[] IS NULL OR task_tag(before.version, before.updated_at) = ANY (%(tags)s::text[]))
    RETURNING task.id, task_content(task.id, task.description, task.is_done, before.version + 1, task.created_at,
                                    clock_timestamp(), true) AS content
), event AS (
    INSERT INTO outbox (path, ordering_key, message, traceparent)
    SELECT %(path)s, id, content, %(traceparent)s FROM deleted
)
SELECT deleted.id IS NOT NULL, before.version FROM before LEFT JOIN deleted USING (id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A task after a request to write it; `is_changed` when that committed a change, and so an event."""

    task: Task
    is_changed: bool


class Store:
    """The tasks. Every method raises StoreUnavailableError when Postgres can't do it now."""

    def __init__(self, database: Database, notify_relay: Callable[[], None]) -> None:
        self._database = database
        self._notify_relay = notify_relay

    def list_page(self, *, after: int, limit: int) -> Page:
        """Return up to `limit` tasks whose ids are above `after`; fewer when they would take over MAX_PAGE_BYTES."""
        values = {"after": after, "limit": limit, "max_bytes": MAX_PAGE_BYTES}
        with self._database.connection() as connection:
            content, next_after = connection.execute(_LIST, values).fetchone() or ("", None)
        return Page(content=content, next_after=next_after)

    def read(self, task_id: int) -> Task:
        """Return a task. Errors: TaskNotFoundError."""
        with self._database.connection() as connection:
            row = connection.execute(_READ, {"id": task_id}).fetchone()
        if row is None:
            raise TaskNotFoundError(task_id)
        return _task(*row)

    def create(
        self, draft: Draft, *, key: str | None = None, subject: str | None = None, traceparent: str | None = None
    ) -> Written:
        """Create a task, or return the one that `subject` created with the same idempotency `key`.

        Shape: subject is None for whoever sends no token; they share their keys.
        Errors: KeyReusedError when that was another request.
        """
        values: dict[str, Any] = {
            "description": draft.description,
            "is_done": draft.is_done,
            "path": PATH,
            "traceparent": traceparent,
            "key": key,
            "subject": subject or NOBODY,
            "digest": draft.digest,
        }
        with self._database.connection() as connection:
            try:
                created = connection.execute(_CREATE, values).fetchall()
            except psycopg.errors.UniqueViolation:
                return Written(task=_first_answer(connection, values), is_changed=False)
        self._notify_relay()
        return Written(task=_task(*created[0]), is_changed=True)

    def update(
        self, task_id: int, change: Change, *, tags: Collection[str] | None = None, traceparent: str | None = None
    ) -> Written:
        """Apply `change` to a task that has one of `tags`; None stands for any.

        A change that changes nothing leaves the version as it is and yields no event: nothing was committed, and
        clients would ignore an event whose version they have.

        Errors: TaskNotFoundError, VersionMismatchError.
        """
        values = {
            "id": task_id,
            "description": change.description,
            "is_done": change.is_done,
            "tags": None if tags is None else list(tags),
            "path": PATH,
            "traceparent": traceparent,
        }
        with self._database.connection() as connection:
            row = connection.execute(_UPDATE, values).fetchone()
        if row is None:
            raise TaskNotFoundError(task_id)
        is_current, is_changed, *columns = row
        task = _task(*columns)
        if not is_current:
            raise VersionMismatchError(task_id, task.version)
        if is_changed:
            self._notify_relay()
        return Written(task=task, is_changed=is_changed)

    def delete(self, task_id: int, *, tags: Collection[str] | None = None, traceparent: str | None = None) -> None:
        """Delete a task that has one of `tags`; None stands for any.

        Errors: TaskNotFoundError, VersionMismatchError.
        """
        values = {
            "id": task_id,
            "tags": None if tags is None else list(tags),
            "path": PATH,
            "traceparent": traceparent,
        }
        with self._database.connection() as connection:
            row = connection.execute(_DELETE, values).fetchone()
        if row is None:
            raise TaskNotFoundError(task_id)
        is_deleted, version = row
        if not is_deleted:
            raise VersionMismatchError(task_id, version)
        self._notify_relay()


def _task(task_id: int, version: int, tag: str, content: str) -> Task:
    return Task(id=task_id, version=version, tag=tag, content=content)


def _first_answer(connection: Connection, values: dict[str, Any]) -> Task:
    row = connection.execute(_FIRST_ANSWER, values).fetchone()
    if row is None:
        # Pruned between the two statements, a day after it was first used.
        raise StoreUnavailableError("the idempotency key has just expired")
    first_digest, *columns = row
    if first_digest != values["digest"]:
        raise KeyReusedError
    return _task(*columns)
