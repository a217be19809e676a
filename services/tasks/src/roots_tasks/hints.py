"""Hints to the relay that the outbox has something: one NOTIFY for all that is committed in a few milliseconds.

A NOTIFY in each writing transaction would make their commits wait for one another, since Postgres orders them by one
lock for the whole server, and would wake the relay for each. So the service gives the hint, just after the commit.
Promises: nothing about delivery; a hint that is lost, with this process or with Postgres, costs the relay's next look
at the table, at most a second. May import: database, errors.
"""

import threading

import psycopg

from roots.runtime import logs
from roots_tasks.database import Database
from roots_tasks.errors import StoreUnavailableError

# Hints are so far apart: the first after a pause is given at once, and while they are wanted again and again, when the
# relay reads on by itself, they become rarer.
PACE_SECONDS = 0.005
MAX_PACE_SECONDS = 0.02
CLOSE_SECONDS = 3.0

# hint: not worth a disk sync of its own; the setting ends with the statement's transaction.
_HINT = "SELECT set_config('synchronous_commit', 'off', true), pg_notify('roots_outbox', '')"

log = logs.get(__name__)


class Hints:
    """A thread that gives the hints that the requests ask for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._give_until_closed, name="relay-hints", daemon=True)

    def start(self) -> None:
        """Give hints from now on."""
        self._thread.start()

    def close(self) -> None:
        """Give what was wanted last, and end; to be called when nothing is written any more."""
        self._closed.set()
        self._wanted.set()
        self._thread.join(CLOSE_SECONDS)

    def want(self) -> None:
        """Have the relay read the outbox soon; it returns at once."""
        self._wanted.set()

    def _give_until_closed(self) -> None:
        is_closed, pace_seconds = False, PACE_SECONDS
        while not is_closed or self._wanted.is_set():
            self._wanted.wait()
            # Before the hint: what is committed after it was given wants another.
            self._wanted.clear()
            self._give()
            is_closed = self._closed.wait(pace_seconds)
            pace_seconds = min(2 * pace_seconds, MAX_PACE_SECONDS) if self._wanted.is_set() else PACE_SECONDS

    def _give(self) -> None:
        try:
            with self._database.connection() as connection:
                connection.execute(_HINT)
        except (StoreUnavailableError, psycopg.Error) as error:
            # The relay looks by itself; the requests that follow tell of the same outage, and in more words.
            log.debug("hint_lost", error=type(error).__name__)
