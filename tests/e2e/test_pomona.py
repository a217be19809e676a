"""The browser library in a real browser: the page of 2009, many tabs with one poll, and a page of another origin."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import APIRequestContext, Browser, BrowserContext, Page, Route, async_playwright, expect
from tests.conftest import OTHER_ORIGIN
from tests.integration.metrics import value
from tests.testkit.deadlines import stretched, until, within

from roots_devstack.stack import Stack

from .conftest import FLAGS, crash, everywhere
from .pomona_page import LISTEN, POMONA, build_react, listen, readme_block, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

RECOVERED_SECONDS = 20.0
"""After a tab has died or frozen, its lead is taken over well within this."""

TABS = 4

MODULES = ["firenze.js", "pomona.min.js"]
"""The library's source and its minified file."""

TUTORIAL = """
Todos.DataSource = {
  init: function(){
    // needs proxy /comet/ to dobby
    this.firenze = Pomona.Firenze.create({ // Firenze is the name of the long-poll system.
      connectUrl: "/tasks/connect/%@", // %@ is replaced with the client id
      disconnectUrl: "/tasks/disconnect/%@"
    });
    // tell it to call this.taskReceived when a message is received on path "tasks"
    this.firenze.connect("tasks", this, "taskReceived");
  },
  taskReceived: function(path, message) {
    if (message.trim() === "") return; // the first time, we receive "" to confirm connection
    var data = JSON.parse(message); // we sent a JSON-encoded message from Python
    if (data.DELETE) {
      Todos.store.pushDestroy(Todos.Task, data.guid);
    } else {
      Todos.store.loadRecords(Todos.Task, [data]);
    }
  }
};
"""
"""The tutorial's data source, as it was in 2009."""

DATA_SOURCES = [TUTORIAL, f"const sc_super = () => {{}}; Todos.DataSource = {{ {readme_block('js')} }};"]
"""That one and the README's, which is what such an object has within its braces."""

STORE = """async (module) => {
  window.Pomona = await import(module);
  window.Todos = {
    Task: "Todos.Task",
    store: {
      records: {},
      loadRecords(type, records) { for (const record of records) this.records[record.guid] = record; },
      pushDestroy(type, guid) { delete this.records[guid]; },
    },
  };
}"""
"""As much of SproutCore's store as the data source uses."""


class SomebodyElse:
    """Changes tasks as another person does, and takes them away at the end."""

    def __init__(self, request: APIRequestContext) -> None:
        self._request = request
        self._created: list[str] = []

    async def create(self, description: str) -> str:
        """Create a task, and return its URL."""
        answer = await self._request.post("/tasks", data={"description": description})
        assert answer.status == 201
        self._created.append(str((await answer.json())["content"]["guid"]))
        return self._created[-1]

    async def change(self, guid: str, task: dict[str, object]) -> None:
        """Replace a task."""
        assert (await self._request.put(guid, data=task)).status == 200

    async def delete(self, guid: str) -> None:
        """Delete a task."""
        assert (await self._request.delete(guid)).status == 204
        self._created.remove(guid)

    async def tidy(self) -> None:
        """Delete what is left."""
        for guid in list(self._created):
            await self.delete(guid)


@pytest_asyncio.fixture(loop_scope="session")
async def somebody(stack: Stack) -> AsyncIterator[SomebodyElse]:
    """Yield somebody who changes tasks."""
    async with async_playwright() as playwright:
        request = await playwright.request.new_context(base_url=stack.url)
        somebody = SomebodyElse(request)
        yield somebody
        await somebody.tidy()
        await request.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, url: str, minified: Path) -> BrowserContext:
    """Return one person's browser, with the library beside the running system."""
    context = await browser.new_context()
    await serve(context, url, POMONA / "src", minified)
    return context


async def answer_bare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a request as a back end does that knows nothing of other origins."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def polls_held(stack: Stack) -> int:
    """Return how many polls all replicas hold."""
    urls = [str(info.admin_url) for name, info in stack.processes.items() if name.startswith("longpoll")]
    held = [await asyncio.to_thread(value, url, "roots_longpoll_polls_held") for url in urls]
    return int(sum(held))


async def expect_polls_held(stack: Stack, count: int) -> None:
    """Wait until the system holds so many polls."""

    async def is_held() -> bool:
        return await polls_held(stack) == count

    await until(is_held, RECOVERED_SECONDS)


async def expect_heard(pages: list[Page], *descriptions: str) -> None:
    """Wait until each page has heard the last of them, and see that it heard each once, in order, after "" once."""
    for page in pages:
        await page.wait_for_function("last => heard.at(-1) === last", arg=descriptions[-1], timeout=stretched(20_000))
        assert await page.evaluate("heard") == ["", *descriptions]
        assert await page.evaluate("told") == []


@everywhere
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("source", DATA_SOURCES, ids=["tutorial", "readme"])
async def test_page_of_2009_shows_changes_when_it_is_unmodified(
    context: BrowserContext, url: str, somebody: SomebodyElse, module: str, source: str
) -> None:
    """The tutorial's data source and the README's: records are loaded and destroyed as others change them."""
    page = await context.new_page()
    await page.goto(f"{url}/pomona/")
    await page.evaluate(STORE, f"./{module}")
    await page.evaluate(f"() => {{ {source} Todos.DataSource.init(); }}")
    await page.wait_for_function("Todos.DataSource.firenze.getDoloresId()")
    await page.evaluate(
        "() => new Promise((confirmed) => Todos.DataSource.firenze.connect('tasks', (_, text) => text || confirmed()))"
    )

    guid = await somebody.create("Learn Roots 2009")
    await page.wait_for_function("guid => Todos.store.records[guid]?.description === 'Learn Roots 2009'", arg=guid)
    await somebody.change(guid, {"description": "Know Roots 2009", "isDone": True})
    await page.wait_for_function("guid => Todos.store.records[guid]?.isDone === true", arg=guid)
    await somebody.delete(guid)
    await page.wait_for_function("guid => !(guid in Todos.store.records)", arg=guid)


async def test_plain_page_of_the_readme_shows_tasks_when_it_is_copied(
    browser: Browser, stack: Stack, somebody: SomebodyElse
) -> None:
    """Word for word, at the gateway, with the library that the gateway serves."""
    context = await browser.new_context()
    await serve(context, stack.url, body=readme_block("html"))
    page = await context.new_page()
    await page.goto(f"{stack.url}/pomona/")
    await somebody.create("Read the README")
    await expect(page.get_by_role("listitem").filter(has_text="Read the README")).to_have_count(1)


@pytest.mark.usefixtures("minified")
async def test_react_page_of_the_readme_shows_tasks_when_it_is_copied(
    browser: Browser, stack: Stack, somebody: SomebodyElse
) -> None:
    """Word for word, with React itself: the list follows, and so does the state in its label."""
    script = await asyncio.to_thread(build_react, readme_block("jsx"))
    context = await browser.new_context()
    await serve(context, stack.url, body="<main></main><script type=module src=page.js></script>")
    await context.route(
        f"{stack.url}/pomona/page.js", lambda route: route.fulfill(body=script, content_type="text/javascript")
    )
    page = await context.new_page()
    await page.goto(f"{stack.url}/pomona/")
    await expect(page.get_by_label("Tasks, live")).to_have_count(1)
    guid = await somebody.create("Read it in React")
    item = page.get_by_role("listitem").filter(has_text="Read it in React")
    await expect(item).to_have_count(1)
    await somebody.delete(guid)
    await expect(item).to_have_count(0)


async def test_plain_page_of_the_readme_shows_every_task_when_the_list_has_pages(
    browser: Browser, stack: Stack, somebody: SomebodyElse
) -> None:
    """Follows the links of the real task API, whose pages are of two tasks here, and keeps all when it loads again."""
    context = await browser.new_context()
    await serve(context, stack.url, body=readme_block("html"))
    await context.route(f"{stack.url}/tasks", lambda route: route.continue_(url=f"{stack.url}/tasks?limit=2"))
    page = await context.new_page()
    names = [f"Task {number} of a long list" for number in range(5)]
    for name in names:
        await somebody.create(name)
    await page.goto(f"{stack.url}/pomona/")
    items = page.get_by_role("listitem").filter(has_text="of a long list")
    await expect(items).to_have_text(names)
    await page.reload()
    await expect(items).to_have_text(names)


@pytest.mark.parametrize("module", MODULES)
async def test_tabs_hold_one_poll_and_lose_nothing_when_the_one_that_polls_is_closed_or_crashes(
    context: BrowserContext, stack: Stack, somebody: SomebodyElse, module: str
) -> None:
    """I1: the tabs of one browser; each hears each change once, in order, with the same uid throughout."""
    await expect_polls_held(stack, 0)
    pages = [await listen(context, stack.url, module) for _ in range(TABS)]
    await expect_polls_held(stack, 1)
    await somebody.create("one")
    await expect_heard(pages, "one")

    await pages.pop(0).close()
    await somebody.create("two")
    await expect_heard(pages, "one", "two")

    await crash(pages.pop(0))
    await somebody.create("three")
    await expect_heard(pages, "one", "two", "three")
    await expect_polls_held(stack, 1)


async def test_tabs_go_on_when_the_one_that_polls_is_frozen_and_thawed(
    context: BrowserContext, stack: Stack, somebody: SomebodyElse
) -> None:
    """I1: as Chromium freezes what is long hidden; it catches up with what it missed."""
    pages = [await listen(context, stack.url) for _ in range(3)]
    session = await context.new_cdp_session(pages[0])
    await session.send("Page.setWebLifecycleState", {"state": "frozen"})
    await somebody.create("one")
    await expect_heard(pages[1:], "one")
    await session.send("Page.setWebLifecycleState", {"state": "active"})
    await expect_heard(pages, "one")
    await somebody.create("two")
    await expect_heard(pages, "one", "two")
    await expect_polls_held(stack, 1)


async def test_tabs_go_on_when_the_one_that_polls_hangs(
    context: BrowserContext, stack: Stack, somebody: SomebodyElse
) -> None:
    """I1: its script stands still without a notice; the next tab that somebody looks at takes the lead from it."""
    pages = [await listen(context, stack.url) for _ in range(3)]
    session = await context.new_cdp_session(pages[0])
    await session.send("Debugger.enable")
    hangs = asyncio.Event()
    session.on("Debugger.paused", lambda _: hangs.set())
    hanging = asyncio.ensure_future(session.send("Runtime.evaluate", {"expression": "debugger"}))
    async with within(RECOVERED_SECONDS):
        await hangs.wait()
    await somebody.create("one")
    await pages[1].evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect_heard(pages[1:], "one")
    await session.send("Debugger.resume")
    await hanging
    await expect_heard(pages, "one")
    await expect_polls_held(stack, 1)


async def test_page_goes_on_from_its_cursor_when_it_comes_back_from_the_cache(
    chromium: str, stack: Stack, somebody: SomebodyElse
) -> None:
    """I1: a page that shares its poll may be kept by the back/forward cache, and hears there what it missed."""
    async with async_playwright() as playwright:
        # Playwright leaves the cache out unless told not to.
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=FLAGS, ignore_default_args=["--disable-back-forward-cache"]
        )
        context = await browser.new_context()
        await serve(context, stack.url, POMONA / "src")
        page = await listen(context, stack.url)
        await page.goto(f"{stack.url}/todos/favicon.svg")
        await somebody.create("Meanwhile")
        await page.go_back(wait_until="commit")
        await expect_heard([page], "Meanwhile")
        await browser.close()


async def test_page_is_told_that_nothing_is_connected_when_its_requests_are_answered_without_cors_lines(
    context: BrowserContext, stack: Stack
) -> None:
    """The browser shows the page a network error; its polls are answered all the while."""
    back_end = await asyncio.start_server(answer_bare, "127.0.0.1")
    [port] = {socket.getsockname()[1] for socket in back_end.sockets}
    page = await context.new_page()
    await page.goto(f"{stack.url}/pomona/")
    options = {"connectUrl": f"http://127.0.0.1:{port}/tasks/connect/%@"}
    await page.evaluate(LISTEN, {"module": "./firenze.js", "options": options})
    await page.wait_for_function("firenze.state === 'unconnected'")
    assert await page.evaluate("told") == [["unconnected", {"path": "tasks", "reason": "unreachable"}]]
    back_end.close()


async def test_todo_page_says_that_it_hears_nothing_when_connecting_fails(
    browser: Browser, stack: Stack, tmp_path: Path
) -> None:
    """Its indicator never says live then, and does once the path is connected."""
    context = await browser.new_context(viewport={"width": 900, "height": 500})
    page = await context.new_page()
    await page.route("**/tasks/connect/*", lambda route: route.fulfill(status=503))
    await page.goto(f"{stack.url}/todos")
    state = page.get_by_test_id("state")
    await expect(state).to_have_text("No updates")
    await page.screenshot(path=tmp_path / "unconnected.png")
    await page.unroute("**/tasks/connect/*")
    await expect(state).to_have_text("Live", timeout=stretched(RECOVERED_SECONDS * 1000))


async def test_page_hears_when_its_origin_is_another(chromium: str, stack: Stack, somebody: SomebodyElse) -> None:
    """Polls go to the longpoll service's own origin, which allows the page's; its own back end asks for the paths."""

    async def ask_gateway(route: Route) -> None:
        url = route.request.url.replace(OTHER_ORIGIN, stack.url)
        answer = await route.fetch(url=url, headers={"content-type": "application/json"})
        await route.fulfill(response=answer)

    longpoll = urlsplit(str(stack.processes["longpoll-1"].url))
    async with async_playwright() as playwright:
        # The page is not really on the loopback network, and Chromium would ask its user whether it may poll there.
        flags = [*FLAGS, "--disable-features=LocalNetworkAccessChecks"]
        browser = await playwright.chromium.launch(executable_path=chromium, args=flags)
        context = await browser.new_context()
        await serve(context, OTHER_ORIGIN, POMONA / "src")
        await context.route(f"{OTHER_ORIGIN}/tasks/connect/*", ask_gateway)
        page = await listen(context, OTHER_ORIGIN, host=longpoll.hostname, port=longpoll.port, prefix="")
        await somebody.create("From afar")
        await expect_heard([page], "From afar")
        await browser.close()
