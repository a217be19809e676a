"""Where an outbox is, and how the relay connects to it. May import: psycopg."""

from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

CONNECT_SECONDS = 3
CHANNEL = "roots_outbox"
"""A NOTIFY on this channel is a hint to the relay that the table has new rows."""

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


def connection_options(application_name: str) -> dict[str, Any]:
    """Return what each connection of Roots to Postgres is opened with.

    A server that vanished silently is noticed by the kernel in about 10 s, not in hours.
    """
    return {
        "application_name": application_name,
        "autocommit": True,
        "client_encoding": "utf8",
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxSource:
    """One outbox table.

    Shape: table may name its schema; application is the beginning of the connections' names in pg_stat_activity;
        install_command creates or upgrades the table, for people who read that it is missing.
    """

    database_url: str = field(repr=False)
    """It may have a password (I10)."""
    table: sql.Identifier
    application: str
    install_command: str
    refused: sql.Identifier | None = None
    """The table for what the sink refuses for good. Without one, what is refused stays and holds back its key."""

    @property
    def table_name(self) -> str:
        """The table's name, quoted, as SQL reads it."""
        return self.table.as_string(None)

    async def connect(self, purpose: str) -> Connection:
        """Return a new connection. Errors: psycopg.Error."""
        return await Connection.connect(self.database_url, **connection_options(f"{self.application}-{purpose}"))
