"""Writers over REST: create, change and delete tasks as a careful client does, and note what was acknowledged.

A write without an answer is tried again: a POST under its idempotency key, the others with the version that they were
meant for. When a later try finds that version gone, the earlier one may have been committed: then the outcome is
unknown to the writer, and the log tells.
"""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

from tests.integration.http_client import Answer, HttpConnection

from .backoff import Backoff
from .chance import source
from .history import Outcome, TaskWrite
from .notes import Notes

WRITE_SECONDS = 35.0
MAX_TASKS = 40
METHODS = {"POST": 3, "PUT": 3, "PATCH": 3, "DELETE": 1}
GONE_OR_CHANGED = (404, 412)


@dataclass(slots=True)
class KnownTask:
    """A task that the writers know of, as they saw it last."""

    guid: str
    tag: str


class TaskWriter:
    """One writer; `tasks` are shared with the others, so that their writes meet."""

    def __init__(self, number: int, urls: tuple[str, ...], tasks: list[KnownTask], seed: int, notes: Notes) -> None:
        self.writes: list[TaskWrite] = []
        self._name = f"w{number}"
        self._urls = urls
        self._tasks = tasks
        self._chance = source(seed, f"task writer {number}")
        self._notes = notes
        self._count = 0

    async def write(self, stop: asyncio.Event, per_second: float) -> None:
        """Write until `stop` is set; what is under way is finished first."""
        while not stop.is_set():
            await asyncio.sleep(self._chance.expovariate(per_second))
            method = self._chance.choices(list(METHODS), list(METHODS.values()))[0]
            if method == "POST" or not self._tasks:
                if len(self._tasks) < MAX_TASKS:
                    await self._create()
            else:
                await self._change(method, self._chance.choice(self._tasks))

    async def _create(self) -> None:
        mark = self._mark()
        headers = {"Idempotency-Key": str(uuid.UUID(int=self._chance.getrandbits(128)))}
        answer, _ = await self._ask("POST", "/tasks", {"description": mark}, headers)
        if answer.status != 201:
            self._notes.unexpected.append(f"POST /tasks was answered {answer}")
            return
        content = answer.json["content"]
        self._tasks.append(KnownTask(content["guid"], content["tag"]))
        self._note("POST", content["guid"], mark, "acknowledged", content)

    async def _change(self, method: str, task: KnownTask) -> None:
        mark = self._mark() if method == "PUT" or (method == "PATCH" and self._chance.random() < 0.5) else ""
        body: dict[str, object] = {"description": mark} if mark else {}
        if method != "DELETE":
            body["isDone"] = self._chance.random() < 0.5
        headers = {"If-Match": f'"{task.tag}"'} if self._chance.random() < 0.8 else {}
        answer, tries = await self._ask(method, task.guid, None if method == "DELETE" else body, headers)
        if answer.status in GONE_OR_CHANGED:
            self._note(method, task.guid, mark, "refused" if tries == 1 else "unknown", None)
            await self._look(task)
        elif answer.status == 204:
            self._forget(task)
            self._note(method, task.guid, mark, "acknowledged", None)
        elif answer.status == 200:
            content = answer.json["content"]
            task.tag = content["tag"]
            self._note(method, task.guid, mark, "acknowledged", content)
        else:
            self._notes.unexpected.append(f"{method} {task.guid} was answered {answer}")

    async def _look(self, task: KnownTask) -> None:
        """Learn the task's present tag."""
        answer, _ = await self._ask("GET", task.guid, None, {})
        if answer.status == 404:
            self._forget(task)
        else:
            task.tag = answer.json["content"]["tag"]

    async def _ask(
        self, method: str, target: str, body: dict[str, object] | None, headers: dict[str, str]
    ) -> tuple[Answer, int]:
        """Return the first answer that is no failure, and how many tries it took."""
        backoff = Backoff(self._chance)
        tries = 0
        while True:
            tries += 1
            answer = await self._try(method, target, body, headers)
            self._notes.count(f"{method} {'failed' if answer is None else answer.status}")
            if answer is not None and answer.status < 500:
                return answer, tries
            retry_after = 0.0 if answer is None else float(answer.headers.get("retry-after", "0"))
            await asyncio.sleep(backoff.next(retry_after))

    async def _try(
        self, method: str, target: str, body: dict[str, object] | None, headers: dict[str, str]
    ) -> Answer | None:
        try:
            async with asyncio.timeout(WRITE_SECONDS), HttpConnection(self._chance.choice(self._urls)) as connection:
                return await connection.request(method, target, body, headers)
        except (OSError, TimeoutError):
            return None

    def _mark(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"

    def _forget(self, task: KnownTask) -> None:
        if task in self._tasks:
            self._tasks.remove(task)

    def _note(self, method: str, guid: str, mark: str, outcome: Outcome, content: dict[str, Any] | None) -> None:
        self.writes.append(TaskWrite(method=method, guid=guid, mark=mark, outcome=outcome, content=content))
