"""A page over plain HTTP is no secure context: it has no Web Locks, and its tabs share one poll all the same."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect
from tests.testkit.deadlines import clock, stretched, until

from roots_devstack.stack import Stack

from .conftest import crash
from .pomona_page import POMONA, listen, serve
from .todo_page import RECOVERED_MS, add, delete, expect_saved, expect_state, task

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABS = 8
"""More than the six connections that a browser has to a host."""

ANSWERED_SECONDS = 2.0
"""A request that waits for a poll to end takes 2 to 20 s."""

POST = """async () => {
  const answer = await fetch("/tasks", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: '{"description": "Posted e2e"}',
  });
  await fetch((await answer.json()).content.guid, { method: "DELETE" });
}"""
"""Creates a task and deletes it."""

TURN = """(visibilityState) => {
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => visibilityState });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
"""Shows or hides a page: a headless browser takes all of them for visible."""


@pytest.fixture
def url(over_plain_http: str, _empty_list: None) -> str:
    """Return the address of these tests' pages."""
    return over_plain_http


async def open_todos(context: BrowserContext, url: str) -> Page:
    """Open the todo page, and return it once it is live."""
    page = await context.new_page()
    await page.goto(f"{url}/todos")
    await expect_state(page, "live")
    return page


async def post_quickly(page: Page) -> None:
    """See that a request is answered before a poll would have to end for it."""
    began = clock()
    await page.evaluate(POST)
    assert clock() - began < ANSWERED_SECONDS


async def expect_quick_posts(pages: list[Page]) -> None:
    """See that a request from each page is answered while the others hold what they hold."""
    for page in pages:
        await post_quickly(page)


async def test_posts_are_quick_and_changes_seen_when_eight_tabs_are_open_over_plain_http(
    browser: Browser, url: str, held: Callable[[], int]
) -> None:
    """I1: they hold one poll, and go on when the one that leads is closed, and when the next one crashes."""
    context = await browser.new_context()
    tabs = [await open_todos(context, url) for _ in range(TABS)]
    assert await tabs[0].evaluate("[isSecureContext, navigator.locks === undefined]") == [False, True]
    await until(lambda: held() == 1)
    await expect_quick_posts(tabs)
    await tabs.pop(0).close()
    await add(tabs[0], "After the leader was closed")
    await crash(tabs.pop(0))
    await add(tabs[0], "After the leader has crashed")
    for tab in tabs:
        await expect(task(tab, "After the leader")).to_have_count(2, timeout=stretched(RECOVERED_MS))
    await until(lambda: held() == 1)
    await expect_quick_posts(tabs)
    await delete(tabs[0], "After the leader was closed")
    await delete(tabs[0], "After the leader has crashed")
    await expect_saved(tabs[0])


async def test_tabs_over_plain_http_end_up_with_one_poll_when_they_are_opened_at_one_moment(
    browser: Browser, url: str, held: Callable[[], int]
) -> None:
    """As a browser does that restores its windows; each of them becomes live."""
    context = await browser.new_context()
    tabs = await asyncio.gather(*(open_todos(context, url) for _ in range(TABS)))
    await until(lambda: held() == 1)
    await expect_quick_posts(list(tabs))


async def test_tabs_over_plain_http_go_on_when_the_one_that_leads_is_frozen(
    browser: Browser, url: str, stack: Stack
) -> None:
    """I1: Chromium freezes what is long hidden and holds no lock; it catches up once it is thawed."""
    context = await browser.new_context()
    await serve(context, url, POMONA / "src")
    pages = [await listen(context, url) for _ in range(3)]
    session = await context.new_cdp_session(pages[0])
    await session.send("Page.setWebLifecycleState", {"state": "frozen"})
    await post_quickly(pages[1])
    for page in pages[1:]:
        await page.wait_for_function("heard.length === 3", timeout=stretched(RECOVERED_MS))
    await session.send("Page.setWebLifecycleState", {"state": "active"})
    await pages[0].wait_for_function("heard.length === 3", timeout=stretched(RECOVERED_MS))
    for page in pages:
        assert await page.evaluate("[heard, told]") == [["", "Posted e2e", "Posted e2e"], []]


async def test_hidden_tabs_let_go_of_their_polls_when_they_can_share_with_none(
    browser: Browser, url: str, held: Callable[[], int], minified: Path
) -> None:
    """The core shares nothing: a POST is quick, and a tab hears what it missed once it is seen again."""
    context = await browser.new_context()
    await serve(context, url, minified)
    pages: list[Page] = []
    for _ in range(TABS):
        if pages:
            await pages[-1].evaluate(TURN, "hidden")
        pages.append(await listen(context, url, "pomona-core.min.js"))
    await until(lambda: held() == 1)
    await expect_quick_posts(pages)
    await pages[-1].evaluate(TURN, "hidden")
    await pages[0].evaluate(TURN, "visible")
    await pages[0].wait_for_function(
        "count => heard.length === count", arg=1 + 2 * TABS, timeout=stretched(RECOVERED_MS)
    )
    await until(lambda: held() == 1)
