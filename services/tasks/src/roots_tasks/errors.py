"""The errors of the task service; api/app.py answers each as a problem of docs/protocol.md.

Retry? Only StoreUnavailableError is worth the same request again. Refetch? After VersionMismatchError, read the task
first.
"""


class TasksError(Exception):
    """Base of the task service's errors."""


class InvalidFieldError(TasksError):
    """A member of the request can't be used: `field` names it, `reason` is one sentence for a person."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class TaskNotFoundError(TasksError):
    """There is no task `task_id`, which may be no id at all."""

    def __init__(self, task_id: int | str) -> None:
        super().__init__(f"there is no task {task_id}")
        self.task_id = task_id


class VersionMismatchError(TasksError):
    """The task has the version `current`, none of those that the request was made for."""

    def __init__(self, task_id: int, current: int) -> None:
        super().__init__(f"task {task_id} has version {current}")
        self.task_id = task_id
        self.current = current


class KeyReusedError(TasksError):
    """The idempotency key was used before, for another request."""


class StoreUnavailableError(TasksError):
    """Postgres can't do it now; `reason` is one sentence without secrets. Whether a change was made is not known."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MigrationError(TasksError):
    """The migrations can't be applied; the message is the sentence to print."""
