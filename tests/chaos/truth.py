"""What Postgres and the event stream hold at the end."""

import asyncio
import time

import psycopg
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import FetchTimeoutError

from roots.contracts.events import EVENT_ID_HEADER
from roots.contracts.subjects import EVENTS_PREFIX, EVENTS_STREAM, path_of
from roots.nats.reader import JetStreamReader

from .history import Event, TaskRow

BATCH = 500
FETCH_SECONDS = 5.0
OUTBOX_SECONDS = 60.0
STATE_SECONDS = 10.0


async def wait_outbox_empty(database_url: str) -> None:
    """Return once the relay has published every change. Errors: TimeoutError."""
    async with asyncio.timeout(OUTBOX_SECONDS):
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            while True:
                cursor = await connection.execute("SELECT count(*) FROM outbox")
                row = await cursor.fetchone()
                if row == (0,):
                    return
                await asyncio.sleep(0.1)


async def read_rows(database_url: str) -> list[TaskRow]:
    """Return every task in Postgres."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        cursor = await connection.execute("SELECT id, description, is_done, version FROM task ORDER BY id")
        return [
            TaskRow(guid=f"/task/{task_id}", description=description, is_done=is_done, version=version)
            for task_id, description, is_done, version in await cursor.fetchall()
        ]


async def read_end(client: Client) -> int:
    """Return the last sequence of the event stream."""
    return (await JetStreamReader(client, EVENTS_STREAM, timeout_seconds=STATE_SECONDS).state()).last


async def read_events(client: Client, end: int) -> list[Event]:
    """Return every event up to `end`, read through a consumer, which no service does."""
    # JetStream's times are of the wall clock, ours of the monotonic one.
    offset = time.monotonic() - time.time()
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, inactive_threshold=60)
    subscription = await client.jetstream().pull_subscribe(f"{EVENTS_PREFIX}>", stream=EVENTS_STREAM, config=config)
    events: list[Event] = []
    while not events or events[-1].seq < end:
        try:
            messages = await subscription.fetch(BATCH, timeout=FETCH_SECONDS)
        except FetchTimeoutError:
            return events
        for message in messages:
            headers = message.headers or {}
            metadata = message.metadata
            events.append(
                Event(
                    seq=metadata.sequence.stream,
                    path=path_of(message.subject),
                    message=message.data.decode(),
                    event_id=headers[EVENT_ID_HEADER],
                    stored_at=metadata.timestamp.timestamp() + offset,
                )
            )
    return events
