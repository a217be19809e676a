"""A browser's tabs share one poll, whichever of them dies, freezes or sleeps."""

from collections.abc import Callable

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect
from tests.testkit.deadlines import stretched, until

from .conftest import NewPage, NewTab, crash, everywhere
from .todo_page import RECOVERED_MS, add, delete, expect_saved, task

pytestmark = pytest.mark.asyncio(loop_scope="session")

TABS = 8


async def open_tabs(context: BrowserContext, new_tab: NewTab, count: int) -> list[Page]:
    """Open tabs one after the other, so that the first one leads."""
    return [await new_tab(context) for _ in range(count)]


@everywhere
async def test_eight_tabs_hold_one_poll_when_their_leaders_die_one_after_the_other(
    browser: Browser, new_page: NewPage, new_tab: NewTab, held: Callable[[], int]
) -> None:
    """I1: every tab hears everything through one poll, also when the one that polls is killed, or closed."""
    writer = await new_page()
    tabs = await open_tabs(await browser.new_context(), new_tab, TABS)
    await until(lambda: held() == 1 + 1)
    await add(writer, "For all tabs")
    for tab in tabs:
        await expect(task(tab, "For all tabs")).to_have_count(1)

    for number in range(TABS - 1):
        leader = tabs.pop(0)
        await (crash(leader) if number % 2 == 0 else leader.close())
        await add(writer, f"After leader {number}.")
        for tab in tabs:
            await expect(task(tab, f"After leader {number}.")).to_have_count(1, timeout=stretched(RECOVERED_MS))
    await until(lambda: held() == 1 + 1)
    for number in range(TABS - 1):
        await delete(writer, f"After leader {number}.")
    await delete(writer, "For all tabs")
    await expect_saved(writer)


async def test_other_tab_hears_when_the_one_that_polls_is_frozen(
    browser: Browser, new_page: NewPage, new_tab: NewTab
) -> None:
    """A browser freezes tabs, and laptops sleep; who wakes up catches up, and shows what came meanwhile."""
    writer = await new_page()
    leader, follower = await open_tabs(await browser.new_context(), new_tab, 2)
    session = await leader.context.new_cdp_session(leader)
    await session.send("Page.setWebLifecycleState", {"state": "frozen"})
    await add(writer, "While frozen")
    await expect(task(follower, "While frozen")).to_have_count(1, timeout=stretched(RECOVERED_MS))
    await session.send("Page.setWebLifecycleState", {"state": "active"})
    await expect(task(leader, "While frozen")).to_have_count(1, timeout=stretched(RECOVERED_MS))
    await delete(leader, "While frozen")
    await expect(task(writer, "While frozen")).to_have_count(0, timeout=stretched(RECOVERED_MS))
