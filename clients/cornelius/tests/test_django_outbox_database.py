"""What the relay may rely on in any database: in the tables of the app, and in the schema `roots` of PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from tests.testkit.deadlines import until, within

from cornelius.django import outbox
from cornelius.django.relay.command import create_database
from roots_outbox.database import Database, Leadership
from roots_outbox.postgres import PostgresDatabase

from .relays import refused

T = TypeVar("T")


class Closable(Protocol):
    """What a Database opens."""

    async def close(self) -> None:
        """Close the connection."""


C = TypeVar("C", bound=Closable)


@pytest.fixture
def database(using: str) -> Database:
    """Return an empty outbox."""
    return create_database(using)


@asynccontextmanager
async def closing(opening: Awaitable[C]) -> AsyncIterator[C]:
    """Close what is opened."""
    opened = await opening
    try:
        yield opened
    finally:
        await opened.close()


async def write(using: str, *keys: str) -> None:
    """Commit an event for each ordering key, which is its message too."""

    def write_all() -> None:
        for key in keys:
            outbox.publish("tasks", key, key, using)
        connections[using].close()

    await sync_to_async(write_all, thread_sensitive=False)()


async def test_rows_are_read_until_they_are_acknowledged(using: str, database: Database) -> None:
    """I11: in their order, without held keys, and no more than asked for."""
    await write(using, *"abcdef")
    async with closing(database.open_outbox()) as opened:
        first = (await opened.advance([], held=[], limit=3)).rows
        assert ["a", "b", "c"] == [row.event.message.decode() for row in first]
        assert ["a", "b", "c"] == [row.ordering_key for row in first]
        second = (await opened.advance([row.id for row in first[:2]], held=["d"], limit=3)).rows
        assert ["c", "e", "f"] == [row.ordering_key for row in second]
        assert first[2] == second[0]
        assert [] == (await opened.advance([row.id for row in second], held=[], limit=0)).rows
        assert ["d"] == [row.ordering_key for row in (await opened.advance([], held=[], limit=9)).rows]


async def test_refused_rows_leave_the_way_with_their_reasons(using: str, database: Database) -> None:
    """Also when another relay has moved one of them before."""
    await write(using, *"abc")
    async with closing(database.open_outbox()) as opened, closing(database.open_outbox()) as other:
        assert opened.keeps_refused
        rows = (await opened.advance([], held=[], limit=3)).rows
        await other.refuse({rows[0].id: "first"})
        await opened.refuse({rows[0].id: "again", rows[2].id: "third"})
        assert ["b"] == [row.ordering_key for row in (await opened.advance([], held=[], limit=9)).rows]
    found = await sync_to_async(_refused_in_a_thread, thread_sensitive=False)(using)
    assert [("tasks", "first"), ("tasks", "third")] == found


def _refused_in_a_thread(using: str) -> list[tuple[str, str]]:
    try:
        return refused(using)
    finally:
        connections[using].close()


async def test_one_leads_when_there_are_several(database: Database) -> None:
    """The next leads when the first one closes."""
    async with closing(database.open_leadership()) as second:
        async with closing(database.open_leadership()) as first:
            assert await first.try_acquire()
            assert await first.try_acquire()
            assert not await second.try_acquire()
        await until(second.try_acquire)


async def test_leader_wakes_the_delivery_when_an_event_is_committed(using: str, database: Database) -> None:
    """By a notification, or by looking often; and it confirms that it leads."""
    woken, confirmed = asyncio.Event(), asyncio.Event()
    async with closing(database.open_leadership()) as leader:
        assert await leader.try_acquire()
        watching = asyncio.create_task(leader.watch(woken.set, confirmed.set))
        await write(using, "a")
        async with within(10.0):
            await woken.wait()
            await confirmed.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_age_and_number_are_measured(using: str, database: Database) -> None:
    """From the limit on the extent of the ids stands for the number."""
    async with closing(database.open_session()) as session:
        assert (None, 0) == await session.measure(10)
        await write(using, *"abcd")
        for limit in (10, 4, 2):
            age_seconds, waiting = await session.measure(limit)
            assert waiting == 4 if limit > 4 else waiting >= 4
            assert age_seconds is not None
            assert 0 <= age_seconds < 60


@pytest.mark.parametrize("migrated", ["sqlite", "mariadb"], indirect=True)
async def test_lease_is_lost_when_it_was_not_renewed(using: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that hung notices that another one leads now, and stops. PostgreSQL's lock ends with its session."""
    monkeypatch.setattr("cornelius.django.relay.models_database.LEASE_SECONDS", -1.0)
    database = create_database(using)

    async def lead(leader: Leadership) -> None:
        await leader.watch(lambda: None, lambda: None)

    async with closing(database.open_leadership()) as hung, closing(database.open_leadership()) as other:
        assert await hung.try_acquire()
        monkeypatch.setattr("cornelius.django.relay.models_database.LEASE_SECONDS", 60.0)
        assert await other.try_acquire()
        with pytest.raises(TimeoutError, match="another relay took the lease"):
            await lead(hung)


@pytest.mark.parametrize("migrated", ["postgres"], indirect=True)
async def test_relay_has_the_role_that_django_assumes(using: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is Django's own, with any name; the server's options are kept."""

    async def open_with(role: str) -> list[tuple[str, str]]:
        monkeypatch.setitem(connections.settings[using], "OPTIONS", {"assume_role": role, "options": "-c geqo=off"})
        database = create_database(using)
        assert isinstance(database, PostgresDatabase)
        async with closing(database.source.connect("test")) as connection:
            cursor = await connection.execute("SELECT current_setting('role'), current_setting('geqo')")
            return await cursor.fetchall()

    owner = connections.settings[using]["USER"]
    assert [(owner, "off")] == await open_with(owner)
    with pytest.raises(psycopg.OperationalError, match=r'role "an odd \\ role" does not exist'):
        await open_with("an odd \\ role")
