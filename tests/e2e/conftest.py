"""A real Chromium, and pages of the running system in it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from tests.integration.http_client import HttpConnection
from tests.integration.metrics import value
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched

from roots_devstack.stack import Stack

from .pomona_page import POMONA, build_minified
from .tls import tls_in_front

NewPage = Callable[[], Awaitable[Page]]
NewTab = Callable[[BrowserContext], Awaitable[Page]]

PLAIN_NAME = "example.test"

# Where a test doesn't say how soon: three browsers and three systems run at a time.
DEFAULT_MS = 15_000

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    # A name by which this machine is not localhost, to which browsers grant more than to others.
    f"--host-resolver-rules=MAP {PLAIN_NAME} 127.0.0.1",
    # The pages that Playwright answers itself do not come from this machine, and Chromium would ask its user.
    "--disable-features=LocalNetworkAccessChecks",
    # The certificate of `over_http2` is of an authority that nobody knows.
    "--ignore-certificate-errors",
]

# Drawn by the processor, the animations of a page take more of it than all else that a test does with the page.
NO_ANIMATIONS = "--force-prefers-reduced-motion"

everywhere = pytest.mark.parametrize("url", ["at_localhost", "over_plain_http", "over_http2"], indirect=True)
"""Runs a test in each context that a page may be in: secure or not, over HTTP/1.1 and over HTTP/2."""


def find_chromium() -> str | None:
    """Return the browser's path: CHROMIUM, or the system's."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


async def crash(page: Page) -> None:
    """Kill a tab's process, as a bug or the system would: it says no goodbye."""
    devtools = await page.context.new_cdp_session(page)
    async with page.expect_event("crash"):
        # Who is killed does not answer.
        killing = asyncio.create_task(devtools.send("Page.crash"))
    killing.cancel()
    await page.close()


@pytest.fixture(scope="session")
def chromium(lacking: Callable[[str], NoReturn]) -> str:
    """Return the browser's path."""
    return find_chromium() or lacking("there is no Chromium; install one, or name it: CHROMIUM=/path/to/chromium")


@pytest.fixture(scope="session")
def minified(tmp_path_factory: pytest.TempPathFactory, lacking: Callable[[str], NoReturn]) -> Path:
    """Return the folder of the minified library. What builds it comes with `make test`."""
    if not (POMONA / "node_modules" / "esbuild").is_dir():
        lacking("there is no esbuild; `make test` and `make lint` install it")
    return build_minified(tmp_path_factory.mktemp("pomona"))


@pytest.fixture
def at_localhost(stack: Stack) -> str:
    """Return the address that `make run` prints: of a secure context, as browsers take localhost for one."""
    return stack.url


@pytest.fixture
def over_plain_http(stack: Stack) -> str:
    """Return the gateway's address by a name that makes no secure context."""
    return f"http://{PLAIN_NAME}:{urlsplit(stack.url).port}"


@pytest.fixture(scope="session")
def over_http2(stack: Stack, background: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a proxy in front of the gateway that ends TLS and speaks HTTP/2 with browsers."""
    with background.entered(tls_in_front(stack.url, tmp_path_factory.mktemp("tls"))) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def _empty_list(stack: Stack) -> None:
    """Delete the tasks that other tests have left: their texts may be those that this test looks for."""
    async with HttpConnection(stack.url) as connection:
        while tasks := (await connection.request("GET", "/tasks")).json["content"]:
            for task in tasks:
                await connection.request("DELETE", task["guid"])


@pytest.fixture
def url(request: pytest.FixtureRequest, _empty_list: None) -> str:
    """Return the system's address for browsers: at localhost, unless the test is one of `everywhere`."""
    return str(request.getfixturevalue(getattr(request, "param", "at_localhost")))


@pytest.fixture(scope="session")
def flags() -> list[str]:
    """Return what the browser is started with."""
    return [*FLAGS, NO_ANIMATIONS]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_browser(chromium: str, flags: list[str]) -> AsyncIterator[Browser]:
    """Yield a browser for all tests: to start one takes seconds."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags)
        browser.on("context", lambda context: context.set_default_timeout(stretched(2 * DEFAULT_MS)))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser(running_browser: Browser) -> AsyncIterator[Browser]:
    """Yield a browser without pages, which has the longer for everything, the busier the machine is."""
    expect.set_options(timeout=stretched(DEFAULT_MS))
    yield running_browser
    for context in running_browser.contexts:
        # A handler that still answers a request fails when its page is closed, in whichever test runs then.
        all_routed: list[Page | BrowserContext] = [*context.pages, context]
        for routed in all_routed:
            await routed.unroute_all(behavior="ignoreErrors")
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def new_tab(url: str) -> AsyncIterator[NewTab]:
    """Yield a function that opens the todo page in one more tab of a browser.

    An error that a page does not catch, or something that its policy forbids, fails the test.
    """
    errors: list[str] = []

    async def open_tab(context: BrowserContext) -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
        await page.goto(f"{url}/todos")
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


@pytest.fixture
def held(stack: Stack) -> Callable[[], int]:
    """Return a function that counts the polls that the replicas hold."""
    urls = [str(stack.processes[name].admin_url) for name in ("longpoll-1", "longpoll-2")]
    return lambda: round(sum(value(url, "roots_longpoll_polls_held") for url in urls))
