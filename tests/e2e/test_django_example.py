"""The Django example, started by its README's commands: two browsers share a list that Django keeps."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Error, Locator, Page, Response, Route, expect
from tests.acceptance.checkout import copy_checkout
from tests.docs.commands import commands
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, until, wait_until

from cornelius import Dudley
from roots_devstack.processes import ports, probes
from roots_devstack.stack import Stack

from .readme_commands import copy_example, terminal

in_one_loop = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[2]
EXAMPLE = Path("examples/django-todos")
ROOTS, DJANGO, RELAY, HAPROXY = commands("examples/django-todos/README.md")
SEEN_MS = 1000
RECOVERED_MS = 20_000
READY_SECONDS = 60.0

SIGN_IN = """
from django.contrib.auth import get_user_model, login, logout
from django.http import HttpResponse


def sign_in(request, name):
    logout(request)
    login(request, get_user_model().objects.get_or_create(username=name)[0])
    return HttpResponse(request.user.pk)


urlpatterns.append(path("sign-in/<str:name>", sign_in))
"""
"""The example has no page to log in."""

LISTEN = """async (path) => {
  const { Firenze } = await import("/static/pomona/firenze.js");
  window.heard ??= [];
  window.told ??= [];
  window.firenze ??= new Firenze({
    connectUrl: "/tasks/connect/%@", disconnectUrl: "/tasks/disconnect/%@", user: document.body.dataset.user,
  });
  firenze.addEventListener("refused", ({ detail }) => told.push(detail.path));
  const take = (message, confirmed) => (message ? heard.push(message) : confirmed());
  await new Promise((confirmed) => firenze.connect(path, (_path, message) => take(message, confirmed)));
}"""

OpenPage = Callable[[], Awaitable[Page]]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """Return a copy of what the example needs of the repository, with the running system's state where it would be."""
    folder = copy_example(EXAMPLE, tmp_path_factory.mktemp("checkout"), home)
    with (folder / EXAMPLE / "project" / "urls.py").open("a", encoding="utf-8") as urls:
        urls.write(SIGN_IN)
    return folder


@pytest.fixture(scope="module")
def example_url(checkout: Path, stack: Stack, background: LoopThread) -> Iterator[str]:
    """Yield where the example is, with Django, its relay and HAProxy running."""
    django_port, port = ports.reserve(), ports.reserve()
    assert DJANGO.strip().endswith("runserver 8000")
    env = {
        "ROOTS_BACKEND_API_URL": str(stack.processes["subscriptions"].backend_api_url),
        "ROOTS_GATEWAY": stack.url.removeprefix("http://"),
        "DJANGO": f"127.0.0.1:{django_port}",
        "ROOTS_ADMIN_PORT": str(ports.reserve()),
        "EXAMPLE_ADDRESS": f":{port}",
        "HOME": str(checkout),
        "PYTHONWARNINGS": "",
    }
    url = f"http://localhost:{port}"
    with ExitStack() as terminals:
        django_block = DJANGO.replace("runserver 8000", f"runserver {django_port}")
        terminals.enter_context(terminal(django_block, checkout, env, checkout / "django.log"))
        terminals.enter_context(terminal(RELAY, checkout, env, checkout / "relay.log"))
        terminals.enter_context(terminal(HAPROXY, checkout, env, checkout / "haproxy.log"))
        background.run(until(lambda: _is_answered(f"{url}/todos"), READY_SECONDS))
        yield url


async def _is_answered(url: str) -> bool:
    answer = await probes.get(url)
    return answer is not None and answer.status == 200


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser, example_url: str) -> AsyncIterator[OpenPage]:
    """Yield a function that opens the page as another person would; an error on its console fails the test."""
    errors: list[str] = []

    async def new_page() -> Page:
        context = await browser.new_context(viewport={"width": 900, "height": 640})
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        # A request for the list that is still under way would be taken for a later one.
        async with page.expect_response("**/tasks"):
            await page.goto(f"{example_url}/todos")
        await expect(page.get_by_test_id("state")).to_have_text("live")
        return page

    yield new_page
    assert errors == []


def task(page: Page, description: str) -> Locator:
    """Return the item with that description."""
    return page.get_by_test_id("task").filter(has_text=description)


async def add(page: Page, description: str) -> None:
    """Type a new task and press Enter."""
    await page.get_by_test_id("new-task").fill(description)
    await page.get_by_test_id("new-task").press("Enter")


@in_one_loop
@pytest.mark.timeout(400)
async def test_other_page_shows_change_within_a_second_when_django_has_committed_it(
    open_page: OpenPage, tmp_path: Path
) -> None:
    """Add, tick, delete: from a page to Django, through the back-end API, to the other page."""
    mine, theirs = await open_page(), await open_page()
    await expect(mine.get_by_test_id("empty")).to_be_visible()
    await mine.screenshot(path=tmp_path / "empty.png")
    await add(mine, "Water the plants")
    await add(mine, "Buy milk")
    await expect(task(theirs, "Buy milk")).to_have_count(1, timeout=stretched(SEEN_MS))
    await task(theirs, "Buy milk").get_by_test_id("tick").check()
    await expect(task(mine, "Buy milk").get_by_test_id("tick")).to_be_checked(timeout=stretched(SEEN_MS))
    await mine.screenshot(path=tmp_path / "mine.png")
    await theirs.screenshot(path=tmp_path / "theirs.png")

    for description in ("Buy milk", "Water the plants"):
        await task(mine, description).get_by_test_id("delete").click()
        await expect(task(theirs, description)).to_have_count(0, timeout=stretched(SEEN_MS))
    await expect(theirs.get_by_test_id("empty")).to_be_visible()


@in_one_loop
async def test_page_shows_what_is_there_when_it_is_opened_later(open_page: OpenPage) -> None:
    """The list is loaded after the path is confirmed."""
    mine = await open_page()
    await add(mine, "Was here before")
    await expect(task(mine, "Was here before")).to_have_count(1)
    await expect(task(await open_page(), "Was here before")).to_have_count(1)
    await task(mine, "Was here before").get_by_test_id("delete").click()


@in_one_loop
async def test_page_keeps_a_task_when_it_is_added_while_the_list_is_loading(open_page: OpenPage) -> None:
    """A list that was read before the task was there says nothing against it."""
    mine, theirs = await open_page(), await open_page()
    is_read, may_come = asyncio.Event(), asyncio.Event()

    async def delay(route: Route) -> None:
        response = await route.fetch()
        is_read.set()
        await may_come.wait()
        await route.fulfill(response=response)

    await theirs.route("**/tasks", delay)
    await theirs.reload(wait_until="commit")
    await is_read.wait()
    await add(mine, "Meanwhile")
    await expect(task(theirs, "Meanwhile")).to_have_count(1)
    async with theirs.expect_response("**/tasks"):
        may_come.set()
    # What comes now, comes after the list has been taken in.
    await add(mine, "Afterwards")
    await expect(task(theirs, "Afterwards")).to_have_count(1)
    await expect(task(theirs, "Meanwhile")).to_have_count(1)
    for description in ("Meanwhile", "Afterwards"):
        await task(mine, description).get_by_test_id("delete").click()
        await expect(task(theirs, description)).to_have_count(0)


@in_one_loop
async def test_page_says_what_is_wrong_when_django_refuses(open_page: OpenPage) -> None:
    """A description of spaces is none."""
    page = await open_page()
    await add(page, "   ")
    await expect(page.get_by_test_id("error")).to_contain_text("blank")
    await expect(page.get_by_test_id("task")).to_have_count(0)


@in_one_loop
async def test_pages_see_each_other_again_when_roots_was_killed(
    open_page: OpenPage, stack: Stack, background: LoopThread
) -> None:
    """I1: what Django commits during an outage of the API is published afterwards, or loaded with the page."""
    mine, theirs = await open_page(), await open_page()
    for name in ("subscriptions", "longpoll-1", "longpoll-2"):
        await asyncio.to_thread(background.run, faults.kill(stack, name))
        await add(mine, f"After {name}")
        await expect(task(theirs, f"After {name}")).to_have_count(1, timeout=stretched(RECOVERED_MS))
        await task(theirs, f"After {name}").get_by_test_id("delete").click()
        await expect(task(mine, f"After {name}")).to_have_count(0, timeout=stretched(RECOVERED_MS))
    await asyncio.to_thread(background.run, stack.wait_ready())


async def sign_in(context: BrowserContext, url: str, name: str) -> str:
    """Let the browser be logged in as `name`, and return the path that only they may receive."""
    answer = await context.request.get(f"{url}/sign-in/{name}")
    return f"django/users/{await answer.text()}"


async def open_as(context: BrowserContext, url: str, path: str) -> tuple[Page, list[str]]:
    """Open a page that receives `path`; return it with a list that gets the body of each answer to its polls."""
    page, polled = await context.new_page(), list[str]()

    async def note(response: Response) -> None:
        if "/comet/" in response.url:
            with suppress(Error):
                polled.append(await response.text())

    page.on("response", note)
    await page.goto(f"{url}/todos")
    await page.evaluate(LISTEN, path)
    return page, polled


def publish(stack: Stack, home: Path, *messages: tuple[str, str]) -> None:
    """Publish as the example's back end does."""
    key = (home / "secrets" / "backend-todos").read_text("ascii")
    dudley = Dudley(url=str(stack.processes["subscriptions"].backend_api_url), key=key.strip())
    dudley.updates(messages)
    dudley.close()


@in_one_loop
@pytest.mark.parametrize(("first", "second"), [("ann", "bert"), ("bert", "ann")])
async def test_tabs_of_two_people_receive_their_own_when_one_logged_in_after_the_other(  # fixtures
    browser: Browser, example_url: str, stack: Stack, home: Path, first: str, second: str
) -> None:
    """I5: the tab of the one before is still open; neither its page nor its polls bring what is the other's."""
    async with await browser.new_context() as context:
        theirs = await sign_in(context, example_url, first)
        before, polled_before = await open_as(context, example_url, theirs)
        own = await sign_in(context, example_url, second)
        after, polled_after = await open_as(context, example_url, own)
        uids = [await page.evaluate("firenze.getDoloresId()") for page in (before, after)]
        assert uids[0] != uids[1]
        await asyncio.to_thread(publish, stack, home, (theirs, "of the first"), (own, "of the second"))
        await before.wait_for_function("heard.length > 0")
        await after.wait_for_function("heard.length > 0")
        assert [["of the first"], ["of the second"]] == [await page.evaluate("heard") for page in (before, after)]
        assert "of the second" not in "".join(polled_before)
        assert "of the first" not in "".join(polled_after)


@in_one_loop
@pytest.mark.parametrize(("first", "second"), [("ann", "bert"), ("bert", "ann")])
async def test_page_loses_what_was_anothers_when_it_stays_open_over_a_login(  # fixtures
    browser: Browser, example_url: str, stack: Stack, home: Path, first: str, second: str
) -> None:
    """I5: the page goes on with one Firenze, and asks for a path of its new user: it gets another uid for that."""
    async with await browser.new_context() as context:
        theirs = await sign_in(context, example_url, first)
        page, polled = await open_as(context, example_url, theirs)
        uid = await page.evaluate("firenze.getDoloresId()")
        own = await sign_in(context, example_url, second)
        await page.evaluate(LISTEN, own)
        assert uid != await page.evaluate("firenze.getDoloresId()")
        await page.wait_for_function("path => told.includes(path)", arg=theirs)
        await asyncio.to_thread(publish, stack, home, (theirs, "of the first"), (own, "of the second"))
        await page.wait_for_function("heard.length > 0")
        assert ["of the second"] == await page.evaluate("heard")
        assert "of the first" not in "".join(polled)


def test_logs_name_no_client_when_pages_have_polled(checkout: Path, example_url: str) -> None:
    """I10: HAProxy's log has no URL of a poll; runserver's has, and is not for production."""
    assert "/comet/" not in (checkout / "haproxy.log").read_text(encoding="utf-8")


@pytest.mark.timeout(400)
def test_backend_api_is_where_django_looks_for_it_when_roots_is_started_as_written(
    tmp_path: Path, background: LoopThread
) -> None:
    """The first terminal's command, with a free port in place of that of 2009, in a checkout of its own."""
    port, gateway_port = ports.reserve(), ports.reserve()
    folder = copy_checkout(tmp_path / "checkout")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    assert "ROOTS_BACKEND_API_PORT=8004" in ROOTS
    env, log = {"ROOTS_PORT": str(gateway_port), "PYTHONWARNINGS": ""}, tmp_path / "roots.log"
    with terminal(ROOTS.replace("8004", str(port)), folder, env, log):
        wait_until(lambda: "Roots is ready at" in log.read_text(encoding="utf-8"), READY_SECONDS)
        answer = background.run(probes.get(f"http://localhost:{port}/v1/clients/{'A' * 43}"), seconds=READY_SECONDS)
        assert answer is not None
        assert 401 == answer.status
    assert (folder / ".roots" / "secrets" / "backend-todos").is_file()
