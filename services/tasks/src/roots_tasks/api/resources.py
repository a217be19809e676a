"""HTTP to tasks and back: nothing but translation. Source: docs/protocol.md, Tasks."""

import hashlib
import re
from collections.abc import Collection
from typing import Any

import falcon

from roots.http.web import read_json
from roots.tracing.traceparent import traceparent_of
from roots_tasks.api import entity_tags
from roots_tasks.errors import InvalidFieldError, TaskNotFoundError
from roots_tasks.metrics import ServeMetrics
from roots_tasks.storage.store import Store
from roots_tasks.tasks import MAX_ID, Change, Task, TaskBody, parse_id

MAX_PAGE = 1000
MAX_KEY_CHARACTERS = 255

_KEY = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY_CHARACTERS}}}")


class TaskList:
    """`/tasks`: all tasks, page by page, and where new ones are made."""

    def __init__(self, store: Store, metrics: ServeMetrics) -> None:
        self._store = store
        self._metrics = metrics

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer a page of tasks, with a link to the next when there is one."""
        limit = _number(req, "limit", default=MAX_PAGE, lowest=1, highest=MAX_PAGE)
        after = _number(req, "after", default=0, lowest=0, highest=MAX_ID)
        page = self._store.list_page(after=after, limit=limit)
        if page.next_after is not None:
            resp.append_link(f"/tasks?limit={limit}&after={page.next_after}", "next")
        body = f'{{"content":[{page.content}]}}'.encode()
        # The next link belongs to what is cached: it comes and goes while the page itself stays the same.
        digest = hashlib.sha256(body + str(page.next_after).encode())
        _send(req, resp, body, digest.hexdigest()[:32])

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Create a task; a retry with the same Idempotency-Key of the same subject gets the first answer."""
        draft = read_json(req, TaskBody).draft()
        written = self._store.create(
            draft, key=_idempotency_key(req), subject=req.context.identity.subject, traceparent=traceparent_of(req)
        )
        self._metrics.changes.labels("created" if written.is_changed else "repeated").inc()
        resp.status = falcon.HTTP_201
        resp.location = written.task.url
        _write(resp, written.task)


class TaskItem:
    """`/task/{task_id}`: one task."""

    def __init__(self, store: Store, metrics: ServeMetrics) -> None:
        self._store = store
        self._metrics = metrics

    def on_get(self, req: falcon.Request, resp: falcon.Response, task_id: str) -> None:
        """Answer the task."""
        task = self._store.read(_id(task_id))
        _send(req, resp, _body(task), task.tag)

    def on_put(self, req: falcon.Request, resp: falcon.Response, task_id: str) -> None:
        """Replace the task: what the body leaves out gets its default."""
        known_id = _id(task_id)
        self._update(req, resp, known_id, read_json(req, TaskBody).draft().as_change())

    def on_patch(self, req: falcon.Request, resp: falcon.Response, task_id: str) -> None:
        """Change what the body names, and nothing else."""
        known_id = _id(task_id)
        self._update(req, resp, known_id, read_json(req, TaskBody).change())

    def on_delete(self, req: falcon.Request, resp: falcon.Response, task_id: str) -> None:
        """Delete the task."""
        self._store.delete(_id(task_id), tags=_tags(req), traceparent=traceparent_of(req))
        self._metrics.changes.labels("deleted").inc()
        resp.status = falcon.HTTP_204

    def _update(self, req: falcon.Request, resp: falcon.Response, task_id: int, change: Change) -> None:
        written = self._store.update(task_id, change, tags=_tags(req), traceparent=traceparent_of(req))
        self._metrics.changes.labels("updated" if written.is_changed else "unchanged").inc()
        _write(resp, written.task)


def _id(text: str) -> int:
    task_id = parse_id(text)
    if task_id is None:
        raise TaskNotFoundError(text)
    return task_id


def _number(req: falcon.Request, name: str, *, default: int, lowest: int, highest: int) -> int:
    """Return a query parameter. Errors: InvalidFieldError."""
    text: Any = req.params.get(name)
    if text is None:
        return default
    is_number = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= len(str(highest))
    if not is_number or not lowest <= int(text) <= highest:
        raise InvalidFieldError(name, f"The parameter {name} is one number from {lowest} to {highest}.")
    return int(text)


def _idempotency_key(req: falcon.Request) -> str | None:
    key = req.get_header("Idempotency-Key")
    if key is not None and _KEY.fullmatch(key) is None:
        raise InvalidFieldError(
            "Idempotency-Key", f"An idempotency key has 1 to {MAX_KEY_CHARACTERS} visible ASCII characters."
        )
    return key


def _tags(req: falcon.Request) -> Collection[str] | None:
    """Return the tags that If-Match names, None for any."""
    if req.get_header("If-Match") is None:
        return None
    tags = entity_tags.unmarked(req.if_match)
    return None if entity_tags.ANY in tags else tags


def _body(task: Task) -> bytes:
    return f'{{"content":{task.content}}}'.encode()


def _write(resp: falcon.Response, task: Task) -> None:
    resp.etag = task.tag
    resp.content_type = falcon.MEDIA_JSON
    resp.data = _body(task)


def _send(req: falcon.Request, resp: falcon.Response, body: bytes, tag: str) -> None:
    """Write what a GET asks for, or 304 when the client has it already."""
    resp.etag = tag
    # Without it a browser may guess for how long the answer stays true.
    resp.cache_control = ["no-cache"]
    if entity_tags.unmarked(req.if_none_match) & {entity_tags.ANY, tag}:
        resp.status = falcon.HTTP_304
        return
    resp.content_type = falcon.MEDIA_JSON
    resp.data = body
