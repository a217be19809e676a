"""Two people have the todo page open: what one does, the other sees at once, whatever part of the system dies."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import clock, stretched

from roots_devstack.stack import Stack

from .conftest import NewPage, everywhere
from .todo_page import RECOVERED_MS, SEEN_MS, add, edit, expect_saved, expect_state, task

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROCESSES = ["postgres", "nats", "gateway", "tasks", "relay", "subscriptions", "longpoll-1", "longpoll-2"]


@everywhere
async def test_other_page_shows_change_within_a_second_when_task_is_added_ticked_edited_and_deleted(
    new_page: NewPage, tmp_path: Path
) -> None:
    """Add, tick, edit, delete: each appears without a reload."""
    mine, theirs = await new_page(), await new_page()

    await add(mine, "Buy milk e2e")
    await expect(task(theirs, "Buy milk e2e")).to_have_count(1, timeout=stretched(SEEN_MS))

    await task(mine, "Buy milk e2e").get_by_test_id("tick").check()
    await expect(task(theirs, "Buy milk e2e").get_by_test_id("tick")).to_be_checked(timeout=stretched(SEEN_MS))

    await edit(theirs, "Buy milk e2e", "Buy oat milk e2e")
    await expect(task(mine, "Buy oat milk e2e")).to_have_count(1, timeout=stretched(SEEN_MS))
    await mine.screenshot(path=tmp_path / "mine.png")
    await theirs.screenshot(path=tmp_path / "theirs.png")

    await task(mine, "Buy oat milk e2e").get_by_test_id("delete").click()
    await expect(task(theirs, "Buy oat milk e2e")).to_have_count(0, timeout=stretched(SEEN_MS))
    await expect(task(mine, "Buy oat milk e2e")).to_have_count(0, timeout=stretched(SEEN_MS))


async def test_page_works_by_keyboard_when_there_is_no_mouse(new_page: NewPage) -> None:
    """Add, tick, edit and delete with keys alone; the focus starts at the new task."""
    page = await new_page()
    await page.keyboard.type("Keyboard e2e")
    await page.keyboard.press("Enter")
    item = task(page, "Keyboard e2e")
    await expect_saved(page)
    await expect(item).to_have_count(1)

    await item.get_by_test_id("tick").focus()
    await page.keyboard.press("Space")
    await expect(item.get_by_test_id("tick")).to_be_checked()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Control+A")
    await page.keyboard.type("Keys e2e")
    await page.keyboard.press("Enter")
    edited = task(page, "Keys e2e")
    await expect(edited).to_have_count(1)
    await edited.get_by_test_id("delete").focus()
    await page.keyboard.press("Enter")
    await expect(edited).to_have_count(0)


@pytest.mark.timeout(240)
async def test_pages_see_each_other_again_when_any_single_process_was_killed(
    new_page: NewPage, stack: Stack, background: LoopThread
) -> None:
    """I1, I6, I9: two pages that stay open survive kill -9 of each process, one after the other."""
    mine, theirs = await new_page(), await new_page()
    for name in PROCESSES:
        await asyncio.to_thread(background.run, faults.kill(stack, name))
        await asyncio.to_thread(background.run, stack.wait_ready())

        started = clock()
        await add(mine, f"After {name} e2e")
        await expect(task(theirs, f"After {name} e2e")).to_have_count(1, timeout=stretched(RECOVERED_MS))
        assert clock() - started < RECOVERED_MS / 1000
        await task(theirs, f"After {name} e2e").get_by_test_id("delete").click()
        await expect(task(mine, f"After {name} e2e")).to_have_count(0, timeout=stretched(RECOVERED_MS))


async def test_page_polls_over_http2_when_a_proxy_ends_tls(browser: Browser, over_http2: str) -> None:
    """A secure context whose requests share one connection: the poll among them."""
    page = await (await browser.new_context()).new_page()
    await page.goto(f"{over_http2}/todos")
    await expect_state(page, "live")
    assert await page.evaluate("isSecureContext")
    spoken = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
    found = await page.evaluate(
        f"{spoken}.map(({{ name, nextHopProtocol }}) => [new URL(name).pathname, nextHopProtocol])"
    )
    assert {"h2"} == {protocol for _, protocol in found}
    assert any(path.startswith("/comet/") for path, _ in found)
