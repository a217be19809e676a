"""`manage.py roots_relay`: publishes the outbox, or looks into it. Source: docs/outbox.md."""

import argparse
import importlib
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, Error, connections

from cornelius.django import outbox


class Command(BaseCommand):
    """The command."""

    help = "Publish committed events to Roots until SIGTERM; several relays share the work safely."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add which database, and what else to do than publish."""
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, choices=tuple(connections), help="its alias")
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument("--status", action="store_true", help="print what waits and what was refused, as JSON")
        instead.add_argument("--retry", action="store_true", help="send again what was refused")

    def handle(self, *_arguments: Any, **options: Any) -> None:
        """Run it. Errors: CommandError."""
        if not outbox.is_on():
            raise CommandError('there is no outbox; set CORNELIUS = {"outbox": True}')
        try:
            command = importlib.import_module("cornelius.django.relay.command")
        except ModuleNotFoundError as error:
            raise CommandError(f"the relay lacks {error.name}; install cornelius[django,outbox]") from error
        using = options["database"]
        try:
            if options["status"]:
                self.stdout.write(json.dumps(command.status(using), indent=2))
            elif options["retry"]:
                self.stdout.write(f"{command.retry(using)} events go out again")
            else:
                command.relay(using)
        except (Error, *command.FAILURES) as error:
            raise CommandError(str(error).strip().partition("\n")[0]) from error
