"""The relay between a real PostgreSQL and a sink in memory; services/tasks/tests has it with NATS, as a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from tests.testkit.deadlines import until, within

from cornelius import Dudley
from roots.contracts.events import Outcome
from roots.tracing.tracing import OFF
from roots_devstack.processes import ports
from roots_outbox import delivery
from roots_outbox.application.backend_api import BackEndApiSink
from roots_outbox.metrics import RelayMetrics
from roots_outbox.postgres import PostgresDatabase
from roots_outbox.relay import Relay
from roots_outbox.sink import Sink

from .support import MemorySink, Table

DEADLINE_SECONDS = 20.0


@asynccontextmanager
async def relaying(table: Table, sink: Sink) -> AsyncIterator[Relay]:
    """Run a relay meanwhile."""
    relay = Relay(PostgresDatabase(table.source), sink, RelayMetrics(CollectorRegistry(), "test"), OFF)
    running = asyncio.create_task(relay.run())
    yield relay
    relay.stop()
    await running


async def test_events_are_delivered_when_the_table_is_in_another_schema(table: Table) -> None:
    """I11: the table is where its user says; what is committed reaches the sink, and then leaves the table."""
    sink = MemorySink()
    table.insert(1, 2, 3)
    async with relaying(table, sink):
        await until(lambda: table.ids() == [])
    assert ["1", "2", "3"] == sink.messages


async def test_each_outbox_has_a_leader_when_a_database_has_two(table: Table, other_table: Table) -> None:
    """The lock is that of one table: relays of two outboxes lead at the same time, two of one outbox do not."""
    sink, other_sink = MemorySink(), MemorySink()
    async with AsyncExitStack() as running:
        first = await running.enter_async_context(relaying(table, sink))
        async with within(DEADLINE_SECONDS):
            await first.leads.wait()
        other = await running.enter_async_context(relaying(other_table, other_sink))
        second = await running.enter_async_context(relaying(table, sink))
        async with within(DEADLINE_SECONDS):
            await other.leads.wait()
        await until(lambda: second.check().detail == "stands by; another relay publishes")
        table.insert(1)
        other_table.insert(2)
        await until(lambda: (table.ids(), other_table.ids()) == ([], []))
    assert (["1"], ["2"]) == (sink.messages, other_sink.messages)


@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.UNKNOWN])
async def test_event_is_published_again_when_the_sink_has_not_acknowledged_it(table: Table, outcome: Outcome) -> None:
    """I2, I11: an event that is not known to be stored stays, and later ones of its ordering key wait for it."""
    sink = MemorySink()
    sink.next_outcomes = [outcome] * 3
    table.insert(1, 2, 3, key="one")
    async with relaying(table, sink):
        await until(lambda: table.ids() == [])
    assert ["1", "2", "3"] == sink.messages


async def test_relay_is_ready_again_when_it_no_longer_has_to_publish_what_failed(table: Table) -> None:
    """Another relay published it meanwhile; this one would otherwise stay unready until it publishes again."""
    sink = BackEndApiSink(Dudley(url=f"http://127.0.0.1:{ports.reserve()}", timeout_seconds=0.5))
    table.insert(1)
    async with relaying(table, sink) as relay:
        await until(lambda: "no connection" in relay.publish_check().detail)
        assert not relay.publish_check().is_ok
        table.rows("DELETE FROM {table}")
        await until(lambda: all(check().is_ok for check in (relay.check, relay.publish_check, *sink.checks.values())))


async def test_refused_event_is_tried_again_when_its_hold_ends(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """I2: a refused event holds back its own ordering key only, and is published once the sink takes it."""
    monkeypatch.setattr(delivery, "HOLD_SECONDS", 2.0)
    sink = MemorySink()
    sink.next_outcomes = [Outcome.REFUSED]
    table.insert(1, 2, key="held")
    table.insert(3)
    async with relaying(table, sink):
        await until(lambda: sink.messages == ["3"])
        await until(lambda: table.ids() == [])
    assert ["3", "1", "2"] == sink.messages


async def test_relay_names_the_command_that_helps_when_the_table_is_missing(missing_table: Table) -> None:
    """Without the table a relay is unready, says what to do, and begins by itself once the table is there."""
    sink = MemorySink()
    async with relaying(missing_table, sink) as relay:
        await until(lambda: relay.check().detail == "the database lacks its schema; run: roots-test install")
        assert not relay.check().is_ok
        missing_table.create()
        missing_table.insert(1)
        await until(lambda: missing_table.ids() == [])


async def test_relay_names_the_command_that_helps_when_the_table_is_older(table: Table) -> None:
    """A table that lacks a column that the relay reads is reported as one that has to be upgraded."""
    table.rows("ALTER TABLE {table} RENAME COLUMN ordering_key TO task_id")
    async with relaying(table, MemorySink()) as relay:
        await until(lambda: relay.check().detail == "the database lacks its schema; run: roots-test install")
