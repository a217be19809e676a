"""A real PostgreSQL, alone."""

import os
import pwd
from pathlib import Path

import psycopg
import pytest
from tests.testkit.background import LoopThread

from roots_devstack.servers.postgres import Postgres


def uid_and_capabilities(pid: int | None) -> tuple[int, int]:
    """Return who a process runs as, and what it may do besides, from /proc."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    return int(fields["Uid"][1]), int(fields["CapEff"][0], 16)


async def written_and_read(postgres: Postgres) -> list[int]:
    """Add a row to a table and return all of them."""
    async with await psycopg.AsyncConnection.connect(postgres.owner_url) as connection:
        await connection.execute("create table if not exists kept (number serial)")
        await connection.execute("insert into kept default values")
        cursor = await connection.execute("select number from kept order by number")
        return [number for (number,) in await cursor.fetchall()]


async def test_postgres_keeps_its_data_when_it_is_killed(tmp_path: Path) -> None:
    """A commit survives `kill -9` of the server; it is back at the same address."""
    async with Postgres(tmp_path) as postgres:
        assert [1] == await written_and_read(postgres)
        url = postgres.url

        await postgres.process.crash()
        await postgres.start()

        assert url == postgres.url
        assert 1 in await written_and_read(postgres)


async def test_postgres_keeps_its_data_when_started_a_second_time(tmp_path: Path) -> None:
    """Another server on the same folder finds the database, and the password still fits."""
    async with Postgres(tmp_path) as postgres:
        await written_and_read(postgres)

    async with Postgres(tmp_path) as postgres:
        assert 2 == len(await written_and_read(postgres))


async def test_postgres_refuses_a_client_when_its_password_is_wrong(tmp_path: Path) -> None:
    """Being on the same machine is not enough to get in."""
    async with Postgres(tmp_path) as postgres:
        url = f"postgresql://tasks:wrong@127.0.0.1:{postgres.port}/tasks"

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            await psycopg.AsyncConnection.connect(url)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account")
async def test_postgres_runs_as_nobody_when_root_starts_it(open_folder: Path) -> None:
    """PostgreSQL refuses root; where everyone may enter, it runs as nobody without any capability."""
    async with Postgres(open_folder) as postgres:
        assert (pwd.getpwnam("nobody").pw_uid, 0) == uid_and_capabilities(postgres.process.pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account")
async def test_postgres_starts_when_only_root_can_enter_its_folder(open_folder: Path) -> None:
    """In a checkout under /root the server gets the capability to reach its files, and no folder changes its mode."""
    (open_folder / "closed").mkdir(mode=0o700)

    async with Postgres(open_folder / "closed" / "home") as postgres:
        await written_and_read(postgres)

    assert 0o700 == (open_folder / "closed").stat().st_mode & 0o777


def test_postgres_serves_synchronous_tests_when_it_runs_in_the_background(tmp_path: Path) -> None:
    """A test without an event loop can start, use and stop the server."""
    with (
        LoopThread() as background,
        background.entered(Postgres(tmp_path)) as postgres,
        psycopg.connect(postgres.url) as connection,
    ):
        assert ("tasks",) == connection.execute("select current_user").fetchone()
