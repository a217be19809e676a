"""Cornelius against the running system: through the back-end API, and out again at a client's poll."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import clock, stretched

from cornelius import (
    Dudley,
    InvalidError,
    KeyRefusedError,
    Message,
    PublishError,
    TooManyPathsError,
    UnknownUidError,
)
from cornelius import Listener as CorneliusListener
from cornelius.aio import AsyncDudley
from cornelius.listener import DISCONNECT_PATH, QUICK_POLLS
from roots_devstack.keys import Keys
from roots_devstack.stack import Stack

from .listener import Listener

PATH = "cornelius/news"
FOREIGN_UID = "A" * 43


@pytest.fixture
def backend_api_url(stack: Stack) -> str:
    """Return where the back-end API is."""
    url = stack.processes["subscriptions"].backend_api_url
    assert isinstance(url, str)
    return url


@pytest.fixture
def key(home: Path) -> str:
    """Return the key of the stack's back end."""
    return Keys(home / "secrets").get("backend-todos")


@pytest.fixture
def dudley(backend_api_url: str, key: str) -> Iterator[Dudley]:
    """Yield the back-end API."""
    client = Dudley(url=backend_api_url, key=key, timeout_seconds=60)
    yield client
    client.close()


async def test_client_hears_updates_from_connect_to_disconnect_when_a_back_end_says_so(
    stack: Stack, dudley: Dudley
) -> None:
    """I2, I5: what the tutorial does, with its names, through the real API."""
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.poll()
        await asyncio.to_thread(dudley.connect, client.uid, [PATH])
        await client.poll_until(lambda: (PATH, "") in client.updates)

        seqs = [item.seq for item in await asyncio.to_thread(dudley.updates, [(PATH, str(n)) for n in range(1500)])]
        assert sorted(set(seqs)) == seqs
        await client.poll_until(lambda: len(client.messages(PATH)) == 1500)
        assert list(range(1500)) == client.messages(PATH)

        explained = await asyncio.to_thread(dudley.explain, client.uid, path="cornelius/other")
        assert [PATH] == [path["path"] for path in explained["hears"]]
        assert explained["path"]["heard"] is False

        await asyncio.to_thread(dudley.disconnect, client.uid, [PATH])
        await client.poll_until(lambda: (DISCONNECT_PATH, PATH) in client.updates)

        await asyncio.to_thread(dudley.connect, client.uid, [PATH])
        revoked = await asyncio.to_thread(dudley.forget, client.uid)
        assert (1, 1) == (revoked.clients, revoked.paths)


async def test_client_hears_each_update_once_when_it_is_published_twice(stack: Stack, dudley: Dudley) -> None:
    """The id makes it one: the repeat has the position of the first."""
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.poll()
        twin = AsyncDudley(dudley)
        await twin.connect(client.uid, [PATH])
        messages = [Message(PATH, json.dumps(f"once {number}")) for number in range(3)]
        first = await twin.updates(messages)
        assert first == await twin.updates(messages)
        last = await twin.update(PATH, '"last"')
        assert last.seq > first[-1].seq
        await client.poll_until(lambda: "last" in client.messages(PATH))
        assert ["once 0", "once 1", "once 2", "last"] == client.messages(PATH)


async def test_client_hears_what_fits_when_a_back_end_connects_more_than_128_paths(
    stack: Stack, dudley: Dudley
) -> None:
    """I7: the error names the paths that are left out, and disconnecting makes room."""
    paths = [f"cornelius/many/{number}" for number in range(130)]
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.poll()
        await asyncio.to_thread(dudley.connect, client.uid, paths[:1])
        with pytest.raises(TooManyPathsError) as caught:
            await asyncio.to_thread(dudley.connect, client.uid, paths)
        assert paths[128:] == caught.value.paths
        await asyncio.to_thread(dudley.disconnect, client.uid, paths)
        await asyncio.to_thread(dudley.connect, client.uid, paths[128:])
        explained = await asyncio.to_thread(dudley.explain, client.uid)
        assert sorted(paths[128:]) == sorted(path["path"] for path in explained["hears"])


def test_listeners_slow_down_when_they_have_the_same_uid(stack: Stack) -> None:
    """I7: a poll ends the other one's on the same replica at once; with two replicas three of them always do."""
    waits: list[str | None] = []
    with ExitStack() as listening:
        first, *others = (
            listening.enter_context(CorneliusListener(stack.url, paths, timeout_seconds=4, on_waiting=waits.append))
            for paths in (["tasks"], [], [])
        )
        confirmation = next(iter(first))
        assert confirmation.is_confirmation
        for other in others:
            other._position = first._position
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(list, (first, *others)))
    assert QUICK_POLLS in waits


def test_errors_say_what_to_do_when_the_real_api_refuses(stack: Stack, dudley: Dudley, backend_api_url: str) -> None:
    """The back-end API's answers are those that the client was made for."""
    with urlopen(f"{stack.url}/comet/") as answer:  # noqa: S310  # our own address
        uid = json.load(answer)["reconnectWith"].partition("/")[0]
    nobody = Dudley(url=backend_api_url)
    with pytest.raises(KeyRefusedError):
        nobody.update("tasks", "x")
    with pytest.raises(KeyRefusedError):
        nobody.connect(FOREIGN_UID, [PATH])
    with pytest.raises(InvalidError):
        dudley.update("no path", "x")
    with pytest.raises(InvalidError):
        dudley.update(PATH, "x" * (64 * 1024 + 1))
    with pytest.raises(UnknownUidError):
        dudley.explain(FOREIGN_UID)
    with pytest.raises(UnknownUidError):
        dudley.forget(FOREIGN_UID)
    with pytest.raises(UnknownUidError):
        dudley.connect(FOREIGN_UID, [PATH])
    with pytest.raises(InvalidError):
        dudley.connect(uid, ["no path"])
    with pytest.raises(KeyRefusedError):
        Dudley(url=backend_api_url, key="not-the-key-of-anybody").update(PATH, "x")
    with pytest.raises(PublishError) as caught:
        dudley.updates([(PATH, '"good"'), ("no path", "1"), ("::connect", "2"), (PATH, '"good"')])
    assert [("no path", 422), ("::connect", 422)] == [
        (item.message.path, item.status) for item in caught.value.failures
    ]
    assert 2 == len(caught.value.published)


async def test_updates_are_stored_once_when_subscriptions_is_killed_while_they_are_published(
    stack: Stack, dudley: Dudley, background: LoopThread
) -> None:
    """I1: the server dies with batches stored and unanswered; the client's tries go on until another one answers."""
    async with Listener(stack.url, stack.url, prefix="/comet") as client:
        await client.poll()
        await asyncio.to_thread(dudley.connect, client.uid, [PATH])
        await client.poll_until(lambda: (PATH, "") in client.updates)
        publishing = asyncio.create_task(asyncio.to_thread(dudley.updates, [(PATH, str(n)) for n in range(5000)]))
        await client.poll_until(lambda: len(client.messages(PATH)) > 0)
        await asyncio.to_thread(background.run, faults.kill(stack, "subscriptions"))
        published = await publishing
        await client.poll_until(lambda: len(client.messages(PATH)) >= 5000)
        await asyncio.to_thread(background.run, stack.wait_ready())
    assert 5000 == len({item.seq for item in published})
    assert list(range(5000)) == client.messages(PATH)


def test_command_publishes_lines_when_they_are_piped_into_it(backend_api_url: str, key: str) -> None:
    """`python -m cornelius publish`, as a process, with the key in its environment."""
    environment = {**os.environ, "ROOTS_BACKEND_API_URL": backend_api_url, "ROOTS_BACKEND_API_KEY": key}
    started = clock()
    done = subprocess.run(
        [sys.executable, "-m", "cornelius", "publish", PATH],
        input="".join(f"{number}\n" for number in range(2000)),
        env=environment,
        capture_output=True,
        text=True,
        timeout=stretched(60),
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    seqs = [json.loads(line)["seq"] for line in done.stdout.splitlines()]
    assert 2000 == len(set(seqs))
    assert clock() - started < 30
