"""The todo page as two people see it who open the printed address."""

from playwright.async_api import Browser, Locator, Page, expect
from tests.testkit.deadlines import stretched

SEEN_MS = 5000


async def open_page(browser: Browser, address: str) -> Page:
    """Open the page in a window that shares nothing with others, and return once it listens."""
    page = await (await browser.new_context()).new_page()
    answer = await page.goto(address)
    assert answer is not None
    assert 200 == answer.status, await answer.text()
    await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "live")
    return page


def task(page: Page, description: str) -> Locator:
    """Return the tasks with that description."""
    return page.get_by_test_id("task").filter(has_text=description)


async def add(page: Page, description: str) -> None:
    """Type a new task and press Enter."""
    await page.get_by_test_id("new-task").fill(description)
    await page.get_by_test_id("new-task").press("Enter")


async def expect_shared(browser: Browser, address: str, description: str) -> None:
    """Add a task in one window. Errors: AssertionError when another window does not show it."""
    mine, theirs = await open_page(browser, address), await open_page(browser, address)
    await add(mine, description)
    await expect(task(mine, description)).to_have_count(1)
    await expect(task(theirs, description)).to_have_count(1, timeout=stretched(SEEN_MS))
