"""Folders with names that a configuration file or a shell would take for something else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.testkit.faults import leader_of

from roots.http.server import HttpServer
from roots.http.web import create_app
from roots_devstack.errors import DevstackError
from roots_devstack.processes import ports, probes
from roots_devstack.processes.waiting import until_ready
from roots_devstack.servers.broker import Broker
from roots_devstack.servers.gateway import Gateway
from roots_devstack.servers.postgres import Postgres
from roots_devstack.stack import Stack, StackConfig
from roots_devstack.web import Web
from roots_tasks.api.pages import PREFIX, Pages

DEADLINE_SECONDS = 20.0
NOT_FOUND = 404
# `%f` and `$HOME` are PostgreSQL's and the shell's, `%[path]` and `${HOME}` HAProxy's, `#` begins comments.
HOSTILE = [
    "a b/.c{x}",
    ".roots",
    ".hidden/.roots",
    "${HOME}",
    "%[path]",
    "{",
    "}",
    "it's",
    'a "b" c',
    "`a`",
    "$HOME",
    "#a",
    "a #b",
    "%f%p",
    "back\\slash",
    "äöü 日本語 \N{PILE OF POO}",
    "-sd",
    "--config",
    "*",
    "[a]?",
    "a;b&c|d",
    "a=b,c:d",
    "(a) <b>",
    "~",
    " a ",
    "x" * 200,
]
# Folders in one another, for what takes seconds to start: any one of the names would be misread in them, too.
NESTED = ["/".join(HOSTILE[first::6]) for first in range(6)]
CONTROL = ["a\nb", "a\rb", "a\tb", "\x7f"]


def gateway_of(home: Path, tasks: str | None = None) -> Gateway:
    """Return a gateway whose services are not there, but for the one that has the pages."""
    nobody = f"{ports.HOST}:{ports.reserve()}"
    return Gateway(
        home,
        port=ports.reserve(),
        tasks=tasks or nobody,
        subscriptions=nobody,
        longpolls=[nobody],
        extra_env={},
    )


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Yield the address of a server of the pages in this folder."""
    app = create_app()
    app.add_sink(Pages(folder), PREFIX)
    server = HttpServer(app, host=ports.HOST, port=0, threads=1)
    server.start()
    try:
        yield f"{ports.HOST}:{server.port}"
    finally:
        server.close()


async def status_of(url: str) -> int | None:
    """Return how `GET url` is answered."""
    answer = await probes.get(url)
    return None if answer is None else answer.status


@pytest.mark.parametrize("name", HOSTILE)
async def test_page_is_served_when_its_folder_has_a_hostile_name(tmp_path: Path, name: str) -> None:
    """The page and what it loads come from any folder, unfinished files from none; the gateway has its list in one."""
    home = tmp_path / name
    web = Web(home)
    web.start()
    (web.folder / "todos" / ".index.html.new").write_text("half", encoding="utf-8")
    with serving(web.folder) as tasks:
        gateway = gateway_of(home, tasks)
        try:
            await gateway.start()
            await until_ready(gateway, seconds=DEADLINE_SECONDS)

            origin = f"http://{ports.HOST}:{gateway.port}"
            page = await probes.get(f"{origin}/todos")
            assert page is not None
            assert page.body == (web.folder / "todos" / "index.html").read_bytes()
            assert await status_of(f"{origin}/todos/pomona/firenze.js") == probes.OK
            for hidden in ("/todos/.index.html.new", "/todos/%2eindex.html.new", "/todos/x/../.index.html.new"):
                assert await status_of(origin + hidden) == NOT_FOUND
        finally:
            await gateway.process.crash()
            await web.stop()


@pytest.mark.parametrize("name", NESTED)
async def test_nats_keeps_its_streams_when_its_folder_has_a_hostile_name(tmp_path: Path, name: str) -> None:
    """The store is in the folder that was named, and is found there at the next start."""
    home = tmp_path / name
    async with Broker(home) as broker:
        await broker.provision()

    async with Broker(home) as broker:
        assert await leader_of(broker) == "nats"
    assert (home / "nats" / "jetstream").is_dir()


@pytest.mark.parametrize("name", NESTED)
async def test_postgres_keeps_its_data_when_its_folder_has_a_hostile_name(tmp_path: Path, name: str) -> None:
    """The data are in the folder that was named, and a second start finds them."""
    home = tmp_path / name
    for _ in range(2):
        async with (
            Postgres(home) as postgres,
            await psycopg.AsyncConnection.connect(postgres.superuser_url) as connection,
        ):
            cursor = await connection.execute("show data_directory")
            assert (str(home / "postgres" / "data"),) == await cursor.fetchone()


@pytest.mark.parametrize("name", CONTROL)
@pytest.mark.parametrize("part", [Broker, Postgres, Web, gateway_of, lambda home: Stack(StackConfig(home=home))])
def test_folder_is_refused_with_one_sentence_when_it_has_a_control_character(
    tmp_path: Path, name: str, part: type[Broker]
) -> None:
    """PostgreSQL's lock file has one fact a line, and initdb refuses line breaks: nothing is begun in such a folder."""
    with pytest.raises(DevstackError) as refused:
        part(tmp_path / name)

    assert (
        str(refused.value)
        == f"{str(tmp_path / name)!r} has a control character in its name; set ROOTS_HOME to another folder"
    )
    assert not list(tmp_path.iterdir())
