"""Folders with names that a configuration file or a shell would take for something else."""

from pathlib import Path

import psycopg
import pytest

from roots_devstack import ports, probes
from roots_devstack.broker import Broker
from roots_devstack.errors import DevstackError
from roots_devstack.gateway import Gateway
from roots_devstack.postgres import Postgres
from roots_devstack.stack import Stack, StackConfig
from roots_devstack.waiting import until_ready
from roots_devstack.web import Web

DEADLINE_SECONDS = 20.0
NOT_FOUND = 404
# `{x}`, `{$HOME}` and `{env.HOME}` are Caddy's, `%f` and `$HOME` PostgreSQL's and the shell's, `#` begins comments.
HOSTILE = [
    "a b/.c{x}",
    ".roots",
    ".hidden/.roots",
    "{$HOME}",
    "{env.HOME}",
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
CONTROL = ["a\nb", "a\rb", "a\tb", "\x7f"]


def gateway_of(home: Path, web: Path) -> Gateway:
    """Return a gateway whose services are not there."""
    nobody = f"{ports.HOST}:{ports.reserve()}"
    return Gateway(
        home, port=ports.reserve(), web=web, tasks=nobody, subscriptions=nobody, longpolls=[nobody], extra_env={}
    )


async def status_of(url: str) -> int | None:
    """Return how `GET url` is answered."""
    answer = await probes.get(url)
    return None if answer is None else answer.status


@pytest.mark.parametrize("name", HOSTILE)
async def test_gateway_serves_the_page_when_its_folder_has_a_hostile_name(tmp_path: Path, name: str) -> None:
    """The page and what it loads are served from any folder, and unfinished files from none."""
    home = tmp_path / name
    web = Web(home)
    web.start()
    (web.folder / "todos" / ".index.html.new").write_text("half", encoding="utf-8")
    gateway = gateway_of(home, web.folder)
    try:
        await gateway.process.start()

        await until_ready(gateway, seconds=DEADLINE_SECONDS)

        origin = f"http://{ports.HOST}:{gateway.port}"
        assert await status_of(f"{origin}/todos/pomona/firenze.js") == probes.OK
        for hidden in ("/todos/.index.html.new", "/todos/%2eindex.html.new", "/todos/x/../.index.html.new"):
            assert await status_of(origin + hidden) == NOT_FOUND
    finally:
        await gateway.process.crash()
        await web.stop()


async def test_gateway_is_unready_when_the_page_is_not_there(tmp_path: Path) -> None:
    """A gateway that redirects and answers 404 for the page is not ready."""
    page = tmp_path / "todos" / "index.html"
    page.parent.mkdir()
    gateway = gateway_of(tmp_path, tmp_path)
    try:
        page.write_text("<title>Todos</title>", encoding="utf-8")
        await gateway.process.start()
        await until_ready(gateway, seconds=DEADLINE_SECONDS)
        page.unlink()

        assert await gateway.unready_reason() == "it answers 404 when /todos is asked"
    finally:
        await gateway.process.crash()


@pytest.mark.parametrize("name", HOSTILE)
async def test_nats_keeps_its_streams_when_its_folder_has_a_hostile_name(tmp_path: Path, name: str) -> None:
    """The store is in the folder that was named, and is found there at the next start."""
    home = tmp_path / name
    async with Broker(home) as broker:
        await broker.provision()

    async with Broker(home) as broker:
        assert await broker.stream_leader() == "nats"
    assert (home / "nats" / "jetstream").is_dir()


@pytest.mark.parametrize("name", HOSTILE)
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
@pytest.mark.parametrize(
    "part", [Broker, Postgres, Web, lambda home: gateway_of(home, home), lambda home: Stack(StackConfig(home=home))]
)
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
