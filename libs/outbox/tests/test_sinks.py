"""What every sink does with a batch: the sink in memory of these tests, and the one that publishes to NATS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.testkit.deadlines import within

from roots.contracts.events import Event, Outcome, new_event_id
from roots.nats.broker import BrokerConfig
from roots_outbox.jetstream import BATCH_FROM, JetStreamSink
from roots_outbox.sink import Sink

from .support import MemorySink


def event(path: str = "tasks", message: bytes = b"{}") -> Event:
    """Return an event with an id of its own."""
    return Event(path=path, message=message, event_id=new_event_id(), committed_ns=1)


async def outcomes(sink: Sink, events: list[Event]) -> list[Outcome]:
    """Publish `events` and return the outcome of each."""
    return [published.outcome for published in await sink.publish(events)]


@pytest.fixture(params=["memory", "jetstream"])
async def sink(request: pytest.FixtureRequest, nats: BrokerConfig) -> AsyncIterator[Sink]:
    """Run a sink; all of its checks hold."""
    made: Sink = MemorySink() if request.param == "memory" else JetStreamSink(nats)
    running = asyncio.create_task(made.run())
    async with within(10.0):
        while not all(check().is_ok for check in made.checks.values()):
            made.changed.clear()
            await made.changed.wait()
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("count", [1, BATCH_FROM])
async def test_events_are_stored_once_when_they_are_published_twice(sink: Sink, count: int) -> None:
    """I11: the id of an event makes another try safe, whether few are published or many."""
    events = [event() for _ in range(count)]
    assert [Outcome.STORED] * count == await outcomes(sink, events)
    assert [Outcome.REPEATED] * count == await outcomes(sink, events)


@pytest.mark.parametrize("others", [1, BATCH_FROM])
async def test_others_are_stored_when_an_event_is_refused(sink: Sink, others: int) -> None:
    """I2: each event has an outcome of its own, in the order of the batch."""
    events = [event(path="no path"), *(event() for _ in range(others)), event(message=b"x" * 70_000)]
    expected = [Outcome.REFUSED, *[Outcome.STORED] * others, Outcome.REFUSED]
    assert expected == await outcomes(sink, events)


async def test_nothing_is_published_when_the_batch_is_empty(sink: Sink) -> None:
    """A batch without events has no outcomes."""
    assert [] == await sink.publish([])


async def test_events_are_unavailable_when_the_sink_never_was_connected() -> None:
    """Before its first connection a sink answers at once, and has stored nothing."""
    sink = JetStreamSink(BrokerConfig(user="tasks", password="x"))
    assert [Outcome.UNAVAILABLE] == await outcomes(sink, [event()])
