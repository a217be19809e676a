"""Hints to the relay that the outbox has new rows: one NOTIFY for all that is committed in a few milliseconds.

A NOTIFY in each writing transaction would make the commits wait for one another, since Postgres orders them by one
lock for the whole server, and would wake the relay for each. So the service sends the hint, just after the commit.
Promises: nothing about delivery; a hint that is lost, with this process or with Postgres, delays delivery until the
relay's next read of the table, at most a second. May import: database, errors.
"""

import threading

import psycopg

from roots.runtime import logs
from roots_outbox.source import CHANNEL
from roots_tasks.errors import StoreUnavailableError
from roots_tasks.storage.database import Database

# Hints are so far apart: the first after a pause is sent at once. While changes go on they become rarer, since then the
# relay reads on by itself.
PACE_SECONDS = 0.005
MAX_PACE_SECONDS = 0.02
CLOSE_SECONDS = 3.0

# hint: not worth a disk sync of its own; the setting ends with the statement's transaction.
_HINT = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, '')"

log = logs.get(__name__)


class RelayNotifier:
    """A thread that sends the hints that the requests ask for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._requested = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._send_until_closed, name="relay-notifier", daemon=True)

    def start(self) -> None:
        """Send hints from now on."""
        self._thread.start()

    def close(self) -> None:
        """Send what was requested last, and end; to be called when nothing is written any more."""
        self._closed.set()
        self._requested.set()
        self._thread.join(CLOSE_SECONDS)

    def notify(self) -> None:
        """Have the relay read the outbox soon; it returns at once."""
        self._requested.set()

    def _send_until_closed(self) -> None:
        is_closed, pace_seconds = False, PACE_SECONDS
        while not is_closed or self._requested.is_set():
            self._requested.wait()
            # Before the hint: what is committed after it needs another.
            self._requested.clear()
            self._send()
            is_closed = self._closed.wait(pace_seconds)
            pace_seconds = min(2 * pace_seconds, MAX_PACE_SECONDS) if self._requested.is_set() else PACE_SECONDS

    def _send(self) -> None:
        try:
            with self._database.connection() as connection:
                connection.execute(_HINT, [CHANNEL])
        except (StoreUnavailableError, psycopg.Error) as error:
            # The relay reads by itself; the requests that follow report the same outage in more detail.
            log.debug("hint_lost", error=type(error).__name__)
