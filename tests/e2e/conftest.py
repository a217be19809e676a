"""A real Chromium, and pages of the running system in it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from roots_devstack.stack import Stack

NewPage = Callable[[], Awaitable[Page]]
NewTab = Callable[[BrowserContext], Awaitable[Page]]

# Where a test doesn't say how soon: a busy machine has three browsers and three systems at a time.
expect.set_options(timeout=15_000)

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def find_chromium() -> str | None:
    """Return the browser's path: CHROMIUM, or the system's."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


async def until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return once that is so. Errors: TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(is_so):  # noqa: ASYNC110  # the server's state, which tells of no change
            await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the browser's path. Without one its tests are skipped; in CI they fail."""
    path = find_chromium()
    if path is None:
        message = "there is no Chromium; install one, or name it: CHROMIUM=/path/to/chromium"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """Yield a browser of the test's own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def new_tab(stack: Stack) -> AsyncIterator[NewTab]:
    """Yield a function that opens the todo page in one more tab of a browser.

    An error that a page does not catch, or something that its policy forbids, fails the test.
    """
    errors: list[str] = []

    async def open_tab(context: BrowserContext) -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
        await page.goto(f"{stack.url}/todos")
        await page.get_by_test_id("state").and_(page.locator("[data-state=live]")).wait_for()
        return page

    yield open_tab
    assert errors == []


@pytest.fixture
def new_page(browser: Browser, new_tab: NewTab) -> NewPage:
    """Return a function that opens the todo page as another person would: with cookies and connections of its own."""

    async def open_page() -> Page:
        return await new_tab(await browser.new_context(viewport={"width": 900, "height": 760}))

    return open_page
