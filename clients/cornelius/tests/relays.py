"""A relay of a Django project, between its database and a scripted back-end API."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from django.db import connections
from prometheus_client import CollectorRegistry

from cornelius import dudley
from cornelius.django import outbox
from cornelius.django.models import Event
from cornelius.django.relay.command import create_database, status
from cornelius.django.relay.sink import RenderingSink
from roots.tracing.tracing import OFF
from roots_outbox.application.backend_api import BackEndApiSink
from roots_outbox.metrics import RelayMetrics
from roots_outbox.relay import Relay

from .support import Log, Request, Scripted, problem

MAX_MESSAGE_BYTES = 65536


@asynccontextmanager
async def relaying(using: str) -> AsyncIterator[Relay]:
    """Run a relay meanwhile."""
    sink = RenderingSink(BackEndApiSink(dudley), using)
    relay = Relay(create_database(using), sink, RelayMetrics(CollectorRegistry(), "test"), OFF)
    running, connected = asyncio.create_task(relay.run()), asyncio.create_task(sink.run())
    try:
        yield relay
    finally:
        relay.stop()
        await running
        connected.cancel()
        with suppress(asyncio.CancelledError):
            await connected


def is_empty(using: str) -> Callable[[], bool]:
    """Return a condition: nothing waits."""
    return lambda: status(using)["waiting"] == 0


def waiting(using: str) -> int:
    """Return how many events wait."""
    count: int = status(using)["waiting"]
    return count


def refused(using: str) -> list[tuple[str, str]]:
    """Return the path and the reason of each event that was refused."""
    table = "roots.refused" if connections[using].vendor == outbox.POSTGRES else "cornelius_refusedevent"
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT path, reason FROM {table} ORDER BY id")  # noqa: S608  # one of two names
        return list(cursor.fetchall())


def event_table(using: str) -> str:
    """Return the table of the events that wait."""
    return "roots.outbox" if connections[using].vendor == outbox.POSTGRES else Event._meta.db_table


def refuse_large(log: Log) -> Callable[[Request], Scripted]:
    """Return a step that stores as the back-end API does, which refuses what is too large."""

    def answer(request: Request) -> Scripted:
        large = [
            {"index": index, "field": "message", "detail": "the message is too large"}
            for index, item in enumerate(request.body)
            if len(item["message"].encode()) > MAX_MESSAGE_BYTES
        ]
        return problem(422, errors=large) if large else log.publish(request)

    return answer


def received(log: Log, path: str = "tasks") -> list[Any]:
    """Return what was published on `path`, decoded."""
    return [json.loads(message) for stored, message in list(log.stored.values()) if stored == path]
