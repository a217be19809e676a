"""The commands `python -m cornelius outbox …`: install the schema in a database, relay its events, look into it.

May import: all of this package. Source: docs/outbox.md.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
import psycopg

from cornelius import ConfigurationError, Dudley
from cornelius.settings import read_key_file
from roots.runtime import logs
from roots.runtime.config import ServiceConfig, load_or_exit, setting
from roots_outbox.application import schema
from roots_outbox.application.backend_api import BackEndApiSink
from roots_outbox.application.schema import SchemaError
from roots_outbox.postgres import PostgresDatabase
from roots_outbox.service import run_relay
from roots_outbox.source import OutboxSource

PROGRAM = "python -m cornelius outbox"
URL_VARIABLE = "ROOTS_DATABASE_URL"
EXIT_FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """Where the application's database is, when no option says so."""

    database_url: str = setting(URL_VARIABLE, default="", is_secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig(ServiceConfig):
    """The settings of `relay` that have no option."""

    admin_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = setting("ROOTS_ADMIN_PORT", default=9006)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` name, and return the exit status."""
    options = _parser().parse_args(arguments)
    # A URL with a password does not belong on a command line, which every user of the machine can read.
    url = options.database or load_or_exit(DatabaseConfig).database_url
    if not url:
        _parser().error(f"name the database: --database URL, or {URL_VARIABLE} in the environment")
    try:
        return int(options.run(options, url))
    except (SchemaError, ConfigurationError) as error:
        return _fail(str(error))
    except (psycopg.Error, OSError) as error:
        return _fail(str(error).strip().partition("\n")[0])


def _install(_options: argparse.Namespace, url: str) -> int:
    with schema.connect(url) as connection:
        steps = schema.install(connection)
    print("installed" if steps else "up to date")
    return 0


def _uninstall(options: argparse.Namespace, url: str) -> int:
    with schema.connect(url) as connection:
        schema.uninstall(connection, loses_events=options.lose_events)
    print("removed")
    return 0


def _status(_options: argparse.Namespace, url: str) -> int:
    with schema.connect(url) as connection:
        print(json.dumps(asdict(schema.status(connection)), indent=2))
    return 0


def _retry(_options: argparse.Namespace, url: str) -> int:
    with schema.connect(url) as connection:
        print(f"{schema.retry(connection)} events go out again")
    return 0


def _relay(options: argparse.Namespace, url: str) -> int:
    key = None if options.key_file is None else read_key_file(options.key_file)
    dudley = Dudley()
    # Reads the settings now: a wrong one ends the command.
    dudley.configure(url=options.backend_api, key=key)
    config = load_or_exit(RelayConfig)
    logs.configure("outbox-relay", config.log_level)
    source = create_source(url, f"{PROGRAM} install")
    relaying = run_relay(
        config,
        PostgresDatabase(source),
        BackEndApiSink(dudley),
        admin_port=config.admin_port,
        metrics_prefix="roots_outbox",
    )
    asyncio.run(relaying)
    return 0


def create_source(url: str, install_command: str) -> OutboxSource:
    """Return the outbox of the schema `roots`."""
    return OutboxSource(
        database_url=url,
        table=schema.TABLE,
        refused=schema.REFUSED,
        application="roots-outbox",
        install_command=install_command,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Publish what an application commits to its own Postgres.",
        epilog="Exit status: 0 done, 1 refused or failed, 2 wrong usage.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    install = commands.add_parser("install", help="create the schema `roots`, or bring it up to date")
    install.set_defaults(run=_install)
    uninstall = commands.add_parser("uninstall", help="drop the schema and its triggers")
    uninstall.add_argument("--lose-events", action="store_true", help="also when events wait, or were refused")
    uninstall.set_defaults(run=_uninstall)
    status = commands.add_parser("status", help="print what waits, what was refused and what is watched, as JSON")
    status.set_defaults(run=_status)
    retry = commands.add_parser("retry", help="send again what was refused")
    retry.set_defaults(run=_retry)
    relay = commands.add_parser("relay", help="publish committed events until SIGTERM; several stand by for each other")
    relay.add_argument("--backend-api", metavar="URL", help="the back-end API; by default ROOTS_BACKEND_API_URL")
    relay.add_argument("--key-file", metavar="FILE", help="a file with the key; by default ROOTS_BACKEND_API_KEY_FILE")
    relay.set_defaults(run=_relay)
    for command in (install, uninstall, status, retry, relay):
        command.add_argument("--database", metavar="URL", help=f"postgresql://…; by default {URL_VARIABLE}")
    return parser


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return EXIT_FAILED
