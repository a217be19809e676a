"""The work of `manage.py roots_relay`: in Postgres with the schema `roots`, elsewhere with the tables of the app."""

import asyncio
from typing import Any

import psycopg
from django.db import connections
from psycopg.conninfo import make_conninfo

from cornelius import dudley
from cornelius.django import outbox
from cornelius.django.relay import models_database
from cornelius.django.relay.models_database import ModelsDatabase
from cornelius.django.relay.sink import RenderingSink
from roots.runtime import logs
from roots.runtime.config import load_or_exit
from roots_outbox.application import schema
from roots_outbox.application.backend_api import BackEndApiSink
from roots_outbox.application.commands import RelayConfig, create_source
from roots_outbox.database import Database
from roots_outbox.postgres import PostgresDatabase
from roots_outbox.service import run_relay

COUNT_LIMIT = 10_000
FAILURES = (schema.SchemaError, psycopg.Error)
# The relay gives up a statement after a few seconds; so must the thread that waits for it.
_MYSQL_TIMEOUTS_SECONDS = {"connect_timeout": 5, "read_timeout": 10, "write_timeout": 10}


def relay(using: str) -> None:
    """Publish the outbox of the database `using` until SIGTERM."""
    config = load_or_exit(RelayConfig)
    logs.configure("outbox-relay", config.log_level)
    for alias in connections:
        options = connections.settings[alias]
        options["AUTOCOMMIT"] = True
        if connections[alias].vendor == "mysql":
            options["OPTIONS"] = {**_MYSQL_TIMEOUTS_SECONDS, **options["OPTIONS"]}
    sink = RenderingSink(BackEndApiSink(dudley), using)
    relaying = run_relay(
        config, create_database(using), sink, admin_port=config.admin_port, metrics_prefix="roots_outbox"
    )
    asyncio.run(relaying)


def status(using: str) -> dict[str, Any]:
    """Return how many events wait and for how long, and how many were refused.

    Errors: SchemaError, those of a database.
    """
    if connections[using].vendor == outbox.POSTGRES:
        found = schema.status(_connection(using))
        return {"waiting": found.waiting, "oldest_seconds": found.oldest_seconds, "refused": found.refused}
    oldest_seconds, waiting = models_database.measure(using, COUNT_LIMIT)
    refused = models_database.count_refused(using)
    return {"waiting": waiting, "oldest_seconds": oldest_seconds or 0.0, "refused": refused}


def retry(using: str) -> int:
    """Send again what was refused; return how many events these are. Errors: SchemaError, those of a database."""
    if connections[using].vendor == outbox.POSTGRES:
        return schema.retry(_connection(using))
    return models_database.retry(using)


def _connection(using: str) -> schema.Connection:
    connections[using].ensure_connection()
    connection: schema.Connection = connections[using].connection
    return connection


def create_database(using: str) -> Database:
    """Return the outbox of the database `using`, for a relay."""
    if connections[using].vendor != outbox.POSTGRES:
        return ModelsDatabase(using)
    parameters = connections[using].get_connection_params()
    if role := connections[using].settings_dict["OPTIONS"].get("assume_role"):
        escaped = role.replace("\\", r"\\").replace(" ", r"\ ")
        parameters["options"] = f"{parameters.get('options', '')} -c role={escaped}"
    # Not what only psycopg knows, such as the class of its cursors.
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    url = make_conninfo(**{name: value for name, value in parameters.items() if name in known and value is not None})
    return PostgresDatabase(create_source(url, "manage.py migrate"))
