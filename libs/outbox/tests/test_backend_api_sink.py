"""The sink that publishes to the back-end API: what the operator sees when that does not answer."""

import asyncio

import pytest
import structlog.testing

from cornelius import Dudley
from cornelius.messages import RENDERINGS, REVOCATIONS
from roots.contracts.events import Event, Outcome, new_event_id
from roots_devstack.processes import ports
from roots_outbox.application import commands
from roots_outbox.application.backend_api import BackEndApiSink


async def test_reason_is_logged_once_when_the_back_end_api_does_not_answer() -> None:
    """Nothing is taken for stored; the relay's readiness has the reason too, from what became of the events."""
    sink = BackEndApiSink(Dudley(url=f"http://127.0.0.1:{ports.reserve()}", timeout_seconds=2.0))
    event = Event(path="tasks", message=b"{}", event_id=new_event_id(), committed_ns=1)
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            published = await sink.publish([event])
            assert [Outcome.UNAVAILABLE] == [result.outcome for result in published]
            assert "no connection" in published[0].detail
    assert [("backend_api_changed", False)] == [(line["event"], line["is_ok"]) for line in lines]
    assert "no connection" in lines[0]["detail"]


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, Outcome.UNAVAILABLE), (403, Outcome.REFUSED), (422, Outcome.REFUSED)]
)
async def test_revocation_waits_when_something_else_answers_in_place_of_the_api(status: int, outcome: Outcome) -> None:
    """I5: a wrong address takes no revocation out of the outbox; a refusal of the API does, with its reason."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}" % status)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        sink = BackEndApiSink(Dudley(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", key="k" * 32))
        message = b'{"subject":"ann"}'
        event = Event(path=REVOCATIONS, message=message, event_id=new_event_id(), committed_ns=1)
        assert [outcome] == [result.outcome for result in await sink.publish([event])]


async def test_publishing_is_one_try_when_the_back_end_api_fails() -> None:
    """The relay has pauses of its own; with those of a client on top it would go on too late after an outage."""
    statuses = [503, 503, 200]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"published":[{"path":"tasks","seq":1}]}'
        head = b"HTTP/1.1 %d X\r\nRetry-After: 1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        writer.write(head % (statuses.pop(0), len(body)) + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        sink = BackEndApiSink(Dudley(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", key="k" * 32))
        event = Event(path="tasks", message=b"{}", event_id=new_event_id(), committed_ns=1)
        outcomes = [result.outcome for _ in range(3) for result in await sink.publish([event])]
    assert [Outcome.UNAVAILABLE, Outcome.UNAVAILABLE, Outcome.STORED] == outcomes


async def test_events_of_django_wait_when_the_relay_is_not_that_of_django() -> None:
    """I11: only the project can make their messages; nothing is lost, and the operator is told the command."""
    sink = BackEndApiSink(Dudley())
    events = [
        Event(path=path, message=b"{}", event_id=new_event_id(), committed_ns=1) for path in (RENDERINGS, "tasks")
    ]
    detail = "only Django can make these messages; run: manage.py roots_relay"
    assert [(Outcome.UNAVAILABLE, detail)] * 2 == [
        (result.outcome, result.detail) for result in await sink.publish(events)
    ]


@pytest.mark.parametrize("url", ["nonsense", "http://"])
def test_relay_ends_with_one_sentence_when_its_url_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It does not try for ever what can't succeed."""
    assert 0 != commands.main(["relay", "--backend-api", url, "--database", "postgresql://127.0.0.1:1/x"])
    assert "no http or https URL" in capsys.readouterr().err
