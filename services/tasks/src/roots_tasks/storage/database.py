"""The connections to Postgres that `serve` shares, and whether Postgres is usable now.

Promises: opening needs no Postgres; a lost one is found again without a restart; driver errors leave as
StoreUnavailableError. May import: psycopg, errors, migrate (for the newest schema version).
"""

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from roots.http.health import Check, LastCheck
from roots.runtime import logs
from roots_outbox.maintenance import OLD_EVENT_SECONDS
from roots_outbox.source import CONNECT_SECONDS, connection_options
from roots_tasks.errors import StoreUnavailableError
from roots_tasks.storage import migrate

# How long a request waits for a connection before it is answered 503. It waits less while Postgres is known to be away,
# when it would only block a thread.
POOL_TIMEOUT_SECONDS = 3.0
AWAY_TIMEOUT_SECONDS = 0.5
# After this the pool gives up a try to connect, so that the next request starts a fresh one: its own back-off would
# double up to minutes, and a Postgres that is back would stay unused.
RECONNECT_SECONDS = 2.0
LOOK_SECONDS = 1.0
LOOK_TIMEOUT_SECONDS = 1.0
# A look that is not done by then has met a frozen server, which answers nothing and ends no statement.
MAX_AGE_SECONDS = 5.0
# Kept open, so that a burst does not wait for the pool to grow connection by connection.
MIN_CONNECTIONS = 4
STATEMENT_TIMEOUT = "3s"
# A frozen server ends no statement: a connection that is lent for longer is cut. A request has two statements at most.
LENT_SECONDS = 7.0
LENT_LOOK_SECONDS = 0.5

# Postgres, or the schema, is not there now; the same request may succeed later.
_UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
_UNMIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedColumn)

log = logs.get(__name__)

# look: the version of the schema, and the age of the oldest event that the relay has not published. One row.
_LOOK = """
SELECT (SELECT max(version) FROM schema_migration) AS version,
       (SELECT extract(epoch FROM clock_timestamp() - committed_at)::float8 FROM outbox ORDER BY id LIMIT 1) AS age
"""

CONNECTION_STATES = ("idle", "busy", "waiting")

Connection = psycopg.Connection[tuple[Any, ...]]


class Database:
    """A pool of connections and a thread that looks every second whether they are of use.

    Shape: check is what the last look found: Postgres answers, and its schema is the one this service needs.

    Units: max_connections that requests use at the same time; two more are for the look, so that a busy pool never
        makes the service unready, and for the hints to the relay.
    """

    def __init__(self, url: str, *, max_connections: int) -> None:
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            kwargs=connection_options("roots-tasks-serve"),
            open=False,
            min_size=MIN_CONNECTIONS,
            max_size=max_connections + 2,
            reconnect_timeout=RECONNECT_SECONDS,
            configure=_limit_statements,
        )
        self.check = LastCheck("Postgres was not asked yet", max_age_seconds=MAX_AGE_SECONDS)
        self._outbox_check = Check(is_ok=True, detail="the outbox was not read yet")
        self._stopped = threading.Event()
        self._lent: dict[Connection, float] = {}
        self._threads = [
            threading.Thread(target=target, name=f"database-{name}", daemon=True)
            for name, target in (("look", self._look_until_closed), ("cut", self._cut_until_closed))
        ]

    def open(self) -> None:
        """Start to connect, and return at once."""
        self._pool.open(wait=False)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Close every connection."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=CONNECT_SECONDS)
        self._pool.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection in autocommit mode. Errors: StoreUnavailableError."""
        with self._lend(POOL_TIMEOUT_SECONDS if self.check().is_ok else AWAY_TIMEOUT_SECONDS) as connection:
            yield connection

    def outbox_check(self) -> Check:
        """Return how long the oldest event has waited; never unready, since the relay is a process of its own."""
        return self._outbox_check

    def count_connections(self, state: str) -> int:
        """Return how many connections are `idle` or `busy`, or how many requests are `waiting` for one."""
        stats = self._pool.get_stats()
        idle, size = stats.get("pool_available", 0), stats.get("pool_size", 0)
        return dict(zip(CONNECTION_STATES, (idle, size - idle, stats.get("requests_waiting", 0)), strict=True))[state]

    @contextmanager
    def _lend(self, timeout_seconds: float) -> Iterator[Connection]:
        try:
            connection = self._take(time.monotonic() + timeout_seconds)
            self._lent[connection] = time.monotonic()
            try:
                yield connection
            finally:
                del self._lent[connection]
                self._pool.putconn(connection)
        except _UNMIGRATED as error:
            raise StoreUnavailableError("the database lacks its schema; run: python -m roots_tasks migrate") from error
        except _UNAVAILABLE as error:
            raise StoreUnavailableError(f"Postgres does not answer ({type(error).__name__})") from error

    def _take(self, deadline: float) -> Connection:
        """Return a connection that the server has not hung up on; the pool replaces those that it has.

        The pool's own `check` would sleep, longer each time, after every dead one it meets: seconds after a restart.
        """
        while True:
            connection = self._pool.getconn(timeout=deadline - time.monotonic())
            if not _has_hung_up(connection):
                return connection
            connection.close()
            self._pool.putconn(connection)

    def _look_until_closed(self) -> None:
        wanted = migrate.newest_version()
        while not self._stopped.is_set():
            before = self.check.found
            check = self._look(wanted)
            self.check.set(check)
            if before.is_ok != check.is_ok:
                log.info("database_changed", is_ok=check.is_ok, detail=check.detail)
            self._stopped.wait(LOOK_SECONDS)

    def _cut_until_closed(self) -> None:
        """Cut the connections that are lent for too long, so that their requests are answered 503."""
        while not self._stopped.wait(LENT_LOOK_SECONDS):
            now = time.monotonic()
            for connection, lent_at in list(self._lent.items()):
                if now - lent_at > LENT_SECONDS:
                    log.warning("database_connection_cut", seconds=round(now - lent_at, 1))
                    _cut(connection)

    def _look(self, wanted: int) -> Check:
        try:
            with self._lend(LOOK_TIMEOUT_SECONDS) as connection:
                version, age = connection.execute(_LOOK).fetchone() or (None, None)
        except StoreUnavailableError as error:
            return Check(is_ok=False, detail=error.reason)
        except psycopg.Error as error:
            # For example a role without rights. The check goes on, and the service recovers once that is repaired.
            return Check(is_ok=False, detail=f"Postgres refuses ({type(error).__name__})")
        waits = "the outbox is empty" if age is None else f"the oldest event has waited {age:.1f} s"
        hint = "; is the relay running?" if age is not None and age > OLD_EVENT_SECONDS else ""
        self._outbox_check = Check(is_ok=True, detail=waits + hint)
        if (version or 0) < wanted:
            detail = f"the schema has version {version or 0}, not {wanted}; run: python -m roots_tasks migrate"
            return Check(is_ok=False, detail=detail)
        return Check(is_ok=True, detail=f"Postgres answers, its schema has version {version}")


def _limit_statements(connection: Connection) -> None:
    """Let the server end what takes too long, as a wait for a lock, so that no thread is held for ever."""
    connection.execute("SELECT set_config('statement_timeout', %s, false)", [STATEMENT_TIMEOUT])


def _cut(connection: Connection) -> None:
    """End a connection from another thread than the one that waits for its answer, which then sees it closed."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as copy:
            copy.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        log.debug("database_connection_gone")


def _has_hung_up(connection: Connection) -> bool:
    """Return whether the server has ended an idle connection.

    A system call instead of a round trip before every request: an idle server sends nothing, so readable data means a
    close, or a rare notice that is worth the round trip.
    """
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if not poller.poll(0):
        return False
    try:
        connection.execute("")
    except psycopg.OperationalError:
        return True
    return False
