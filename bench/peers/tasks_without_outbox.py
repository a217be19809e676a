"""The task service without its outbox: what a write costs without an event.

`python -m bench.peers.tasks_without_outbox serve` is `python -m roots_tasks serve` in all but this: the outbox row is
cut out of the statement that creates a task, and no hint is sent to a relay. Made from the product's own statement, so
that it stays the same service when that changes. Only `POST /tasks` is altered.
"""

import re
import sys

from roots_tasks import __main__ as service
from roots_tasks.storage import store
from roots_tasks.storage.notifier import RelayNotifier

_EVENT = re.compile(r", event AS \(\n.*?\n\)(?=,|\n)", re.DOTALL)


def without_event(statement: str) -> str:
    """Return a statement of the store without the part that writes its outbox row. Errors: SystemExit."""
    bare, count = _EVENT.subn("", statement)
    if count != 1 or "outbox" in bare:
        sys.exit("error: the outbox row is not where this peer looks for it; it has to follow the product's statement")
    return bare


def _notify_nobody(_notifier: RelayNotifier) -> None:
    pass


if __name__ == "__main__":
    store._CREATE = without_event(store._CREATE)  # noqa: SLF001  # the one difference
    RelayNotifier.notify = _notify_nobody  # type: ignore[method-assign,assignment]
    service.main()
