"""Pages that stay open through what goes wrong behind the gateway: a gap, and a token that ends."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from tests.integration.guarded import publish, run_guarded, token
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, until, within

from roots.contracts.subjects import EVENTS_STREAM
from roots.nats import broker
from roots.nats.broker import BrokerConfig
from roots_devstack.keys import Keys
from roots_devstack.stack import Stack

from .conftest import NewPage
from .todo_page import RECOVERED_MS, add, delete, edit, expect_saved, expect_state, shown, task

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKEN_SECONDS = 4

# What the page of an application with tokens does.
LISTEN = """async () => {
  const { Firenze } = await import("/todos/pomona/firenze.js");
  window.heard = [];
  const firenze = new Firenze({
    connectUrl: "/tasks/connect/%@",
    disconnectUrl: "/tasks/disconnect/%@",
    token: () => window.askToken(),
  });
  firenze.subscribe("users/ann/inbox", (message) => window.heard.push(JSON.parse(message)));
  firenze.addEventListener("refused", ({ detail }) => window.heard.push(detail));
}"""


async def purge(stack: Stack, password: str) -> None:
    """Take every event out of the log, and out of the replicas' memory."""
    url = str(stack.processes["nats"].url)
    client = await broker.connect(BrokerConfig(url=url, user="provision", password=password))
    try:
        await client.request(f"$JS.API.STREAM.PURGE.{EVENTS_STREAM}", b"", timeout=stretched(5))
    finally:
        await client.close()
    await asyncio.gather(faults.restart(stack, "longpoll-1"), faults.restart(stack, "longpoll-2"))


async def test_page_loads_its_list_anew_when_the_log_has_lost_what_it_missed(
    new_page: NewPage, stack: Stack, home: Path, background: LoopThread
) -> None:
    """I1, I9: a gap is told, and then the page is right: what was added, changed and deleted meanwhile."""
    mine, theirs = await new_page(), await new_page()
    for description in ("Stays", "Changes", "Goes"):
        await add(theirs, description)
    await expect(task(mine, "Goes")).to_have_count(1)
    await expect_saved(theirs)
    lists: list[str] = []
    mine.on("request", lambda request: lists.append(request.url) if request.url.endswith("/tasks") else None)

    await mine.context.set_offline(True)
    await expect_state(mine, "offline")
    await edit(theirs, "Changes", "Changed")
    await delete(theirs, "Goes")
    await add(theirs, "Comes")
    await expect_saved(theirs)
    password = Keys(home / "secrets").get("nats-provision")
    await asyncio.to_thread(background.run, purge(stack, password))
    assert [] == lists
    await mine.context.set_offline(False)

    await expect(task(mine, "Comes")).to_have_count(1, timeout=stretched(RECOVERED_MS))
    await expect_state(mine, "live")
    assert await shown(theirs) == await shown(mine)
    assert lists
    for description in ("Stays", "Changed", "Comes"):
        await delete(mine, description)
    await expect_saved(mine)


@pytest.fixture(scope="module")
def guarded(background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield a system with a policy of tokens."""
    with background.entered(run_guarded(tmp_path_factory.mktemp("guarded"))) as running:
        yield running


async def test_page_hears_on_when_its_token_has_ended_and_is_renewed(browser: Browser, guarded: Stack) -> None:
    """I5: the grant ends with the token; the page is asked for another one, and hears what came after it."""
    page = await (await browser.new_context()).new_page()
    asked_at: list[float] = []
    expires: list[int] = []

    def renew() -> str:
        asked_at.append(time.time())
        # On a slow machine one of the first ends before the page hears anything.
        expires.append(int(asked_at[-1] + TOKEN_SECONDS * 2 ** len(expires)))
        return token("ann", expires[-1])

    await page.expose_function("askToken", renew)
    await page.goto(f"{guarded.url}/todos")
    await page.evaluate(LISTEN)
    # Published again until it is heard: what came before the grant is not the page's to hear.
    async with within(RECOVERED_MS / 1000):
        while "before" not in await page.evaluate("heard"):
            await publish(guarded, "users/ann/inbox", "before")
            await asyncio.sleep(0.1)
    ended = len(expires)
    await until(lambda: len(expires) > ended, expires[-1] - time.time() + RECOVERED_MS / 1000)
    async with within(RECOVERED_MS / 1000):
        while "after" not in await page.evaluate("heard"):
            await publish(guarded, "users/ann/inbox", "after")
            await asyncio.sleep(0.1)
    assert all(asked >= end for asked, end in zip(asked_at[1:], expires, strict=False))
    assert {"before", "after"} == set(await page.evaluate("heard"))
