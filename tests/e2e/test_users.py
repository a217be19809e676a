"""People who share one browser: what one has done waits for them, and is nobody else's."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect
from tests.testkit.deadlines import stretched

from roots_devstack.stack import Stack, StackConfig

from .todo_page import RECOVERED_MS, expect_saved, task, type_new

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "a secret for tests, of 32 bytes or more"
POLICY = """
[tokens]
audience = "roots"
cookie = "token"
keys = [{ kid = "k", alg = "HS256", secret_file = "secret" }]

[apps.tasks]
allow = [{ paths = ["tasks"], who = "anyone" }]
read = "anyone"
write = "anyone"
"""
WRITES = "**/tasks"


@pytest_asyncio.fixture(loop_scope="session")
async def guarded(tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a system whose users are told apart by a cookie."""
    (tmp_path / "secret").write_text(SECRET, encoding="ascii")
    (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
    config = StackConfig(home=tmp_path / "home", extra_env={"ROOTS_POLICY": str(tmp_path / "policy.toml")})
    async with Stack(config) as stack:
        yield stack


async def sign_in(context: BrowserContext, url: str, subject: str | None) -> None:
    """Let the browser have the cookie of `subject`, or none."""
    await context.clear_cookies()
    if subject is not None:
        claims = {"sub": subject, "aud": "roots", "exp": int(time.time()) + 3600}
        token = jwt.encode(claims, SECRET, "HS256", headers={"kid": "k"})
        await context.add_cookies([{"name": "token", "value": token, "url": url, "httpOnly": True}])


async def open_page(context: BrowserContext, url: str) -> Page:
    """Open the todo page; return once its list is there."""
    page = await context.new_page()
    await page.goto(f"{url}/todos/")
    await expect(page.get_by_test_id("state")).to_have_attribute("data-state", "live", timeout=stretched(RECOVERED_MS))
    return page


async def see(page: Page, description: str, count: int) -> None:
    """Wait until the page shows a task so many times."""
    await expect(task(page, description)).to_have_count(count, timeout=stretched(RECOVERED_MS))


async def test_waiting_edit_is_its_owners_when_another_user_comes(guarded: Stack, browser: Browser) -> None:
    """What Ann could not send is not shown to Bert nor sent as his, in her open tab too; she finds it again."""
    async with await browser.new_context() as context:
        await sign_in(context, guarded.url, "ann")
        anns = await open_page(context, guarded.url)
        # The server is away for writes alone.
        await context.route(WRITES, lambda route: route.abort() if route.request.method == "POST" else route.fallback())
        await type_new(anns, "Ann's secret")
        await see(anns, "Ann's secret", 1)

        await sign_in(context, guarded.url, "bert")
        berts = await open_page(context, guarded.url)
        await see(berts, "Ann's secret", 0)
        # Her tab, which is still open, is his by now.
        await see(anns, "Ann's secret", 0)
        # A request that is held for the route as this ends may never be answered.
        for page in (anns, berts):
            await expect(page.get_by_test_id("tasks")).to_have_attribute("aria-busy", "false")
        await context.unroute(WRITES)
        await type_new(berts, "Bert's task")
        await see(anns, "Bert's task", 1)
        await see(berts, "Ann's secret", 0)

        await sign_in(context, guarded.url, None)
        await berts.reload()
        await see(berts, "Bert's task", 1)
        await see(berts, "Ann's secret", 0)

        await sign_in(context, guarded.url, "ann")
        await berts.reload()
        await see(berts, "Ann's secret", 1)
        await expect_saved(berts)
        answer = await context.request.get(f"{guarded.url}/tasks")
        assert ["Bert's task", "Ann's secret"] == [item["description"] for item in (await answer.json())["content"]]


async def test_edit_is_not_sent_as_anothers_when_the_user_changes_under_an_open_tab(
    guarded: Stack, browser: Browser
) -> None:
    """No other tab says that Bert has signed in: the server refuses what Ann's tab sends, and it waits for her."""
    async with await browser.new_context() as context:
        await sign_in(context, guarded.url, "ann")
        page = await open_page(context, guarded.url)
        await sign_in(context, guarded.url, "bert")
        await type_new(page, "Ann's secret")
        await see(page, "Ann's secret", 0)
        answer = await context.request.get(f"{guarded.url}/tasks")
        assert (await answer.json())["content"] == []

        await sign_in(context, guarded.url, "ann")
        await page.reload()
        await see(page, "Ann's secret", 1)
