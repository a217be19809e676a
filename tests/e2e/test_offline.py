"""What somebody does without a network is kept, sent once, and never put over what others did without their word."""

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from tests.testkit.deadlines import stretched

from .conftest import NewPage, NewTab, everywhere
from .todo_page import RECOVERED_MS, add, delete, edit, expect_saved, expect_state, task, visible

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def pages(new_page: NewPage) -> tuple[Page, Page]:
    """Return two people's pages, both with the same two tasks and nothing else."""
    mine, theirs = await new_page(), await new_page()
    await expect(mine.get_by_test_id("loading")).to_be_hidden()
    for description in ("Buy milk", "Call Ann"):
        await add(mine, description)
    await expect_saved(mine)
    await expect(theirs.get_by_test_id("task")).to_have_count(2)
    return mine, theirs


@everywhere
async def test_both_sides_are_kept_when_the_network_was_away(pages: tuple[Page, Page], new_tab: NewTab) -> None:
    """Edits of different tasks and of different members of one; a creation is one, however often it is sent."""
    mine, theirs = pages
    await mine.context.set_offline(True)
    await expect_state(mine, "offline")
    await add(mine, "On the train")
    await task(mine, "Buy milk").get_by_test_id("tick").check()
    await edit(mine, "On the train", "On the slow train")
    await expect(visible(mine, "waiting")).to_have_count(2)
    await expect(mine.get_by_test_id("unsent")).to_have_text("2 not sent yet")
    await edit(theirs, "Buy milk", "Buy oat milk")
    await add(theirs, "From home")
    await expect_saved(theirs)

    await mine.context.set_offline(False)
    await expect_saved(mine)
    for page in (mine, theirs, await new_tab(mine.context)):
        await expect(page.get_by_test_id("description")).to_have_text(
            ["Buy oat milk", "Call Ann", "From home", "On the slow train"], timeout=stretched(RECOVERED_MS)
        )
        await expect(task(page, "Buy oat milk").get_by_test_id("tick")).to_be_checked()
    await expect(visible(mine, "conflict")).to_have_count(0)


@pytest.mark.parametrize(("choice", "wins"), [("mine", "Buy soy milk"), ("theirs", "Buy oat milk")])
async def test_user_decides_when_both_sides_changed_the_same(pages: tuple[Page, Page], choice: str, wins: str) -> None:
    """Neither text is lost before that; the rest of the queue does not wait for it."""
    mine, theirs = pages
    await mine.context.set_offline(True)
    await edit(mine, "Buy milk", "Buy soy milk")
    await task(mine, "Call Ann").get_by_test_id("tick").check()
    await edit(theirs, "Buy milk", "Buy oat milk")
    await expect_saved(theirs)

    await mine.context.set_offline(False)
    await expect(visible(mine, "question")).to_have_text(
        "Someone else changed this to “Buy oat milk”. You wrote “Buy soy milk”.", timeout=stretched(RECOVERED_MS)
    )
    await expect(task(theirs, "Call Ann").get_by_test_id("tick")).to_be_checked()
    await expect(task(theirs, "Buy oat milk")).to_have_count(1)
    await visible(mine, choice).click()
    for page in pages:
        await expect(page.get_by_test_id("description")).to_have_text([wins, "Call Ann"])
    await expect_saved(mine)


async def test_edited_task_comes_back_when_the_user_wants_it_though_others_deleted_it(pages: tuple[Page, Page]) -> None:
    """Words are not lost with a task, also those that are being written when it goes."""
    mine, theirs = pages
    await task(mine, "Buy milk").get_by_test_id("edit").click()
    await visible(mine, "editor").fill("Buy rye bread")
    await delete(theirs, "Buy milk")
    await expect(visible(mine, "question")).to_have_text("Someone else deleted this task while you changed it.")
    await visible(mine, "mine").click()
    await expect(task(theirs, "Buy rye bread")).to_have_count(1)


async def test_deletion_waits_for_the_user_when_others_changed_the_task(pages: tuple[Page, Page]) -> None:
    """What was written meanwhile was not what the user deleted."""
    mine, theirs = pages
    await mine.context.set_offline(True)
    await delete(mine, "Call Ann")
    await edit(theirs, "Call Ann", "Call Ann, it is urgent")
    await expect_saved(theirs)
    await mine.context.set_offline(False)
    await expect(visible(mine, "question")).to_contain_text("which you deleted", timeout=stretched(RECOVERED_MS))
    await visible(mine, "theirs").click()
    await expect(task(mine, "Call Ann, it is urgent")).to_have_count(1)
    await expect_saved(mine)


async def test_queue_is_sent_by_another_tab_when_its_own_was_closed(pages: tuple[Page, Page], new_tab: NewTab) -> None:
    """All tabs show what waits, and it outlives them."""
    mine, theirs = pages
    context = mine.context
    other = await new_tab(context)
    await context.set_offline(True)
    await add(mine, "Kept")
    await expect(task(other, "Kept").get_by_test_id("waiting")).to_be_visible()
    await mine.close()
    await other.close()
    await context.set_offline(False)
    await expect_saved(await new_tab(context))
    await expect(task(theirs, "Kept")).to_have_count(1)


async def test_deletion_is_undone_when_the_user_asks(pages: tuple[Page, Page]) -> None:
    """For others too; in its old place, here; and without a trace when it had not been sent."""
    mine, theirs = pages
    await delete(mine, "Buy milk")
    await expect(task(theirs, "Buy milk")).to_have_count(0)
    await mine.get_by_test_id("undo").click()
    await expect(task(theirs, "Buy milk")).to_have_count(1)
    await expect(mine.get_by_test_id("description")).to_have_text(["Buy milk", "Call Ann"])

    await mine.context.set_offline(True)
    await delete(mine, "Call Ann")
    await expect(mine.get_by_test_id("unsent")).to_have_text("1 not sent yet")
    await mine.keyboard.press("Control+z")
    await expect(mine.get_by_test_id("description")).to_have_text(["Buy milk", "Call Ann"])
    await expect(mine.get_by_test_id("unsent")).to_have_text("")
    await mine.context.set_offline(False)


async def test_page_works_alone_when_tabs_can_not_agree(browser: Browser, new_tab: NewTab) -> None:
    """Without Web Locks, as on a page without TLS, each tab polls, and keeps what waits to itself."""
    context = await browser.new_context()
    await context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })")
    mine, theirs = await new_tab(context), await new_tab(context)
    await context.set_offline(True)
    await add(mine, "Kept by one tab")
    await expect(task(theirs, "Kept by one tab")).to_have_count(0)
    await context.set_offline(False)
    await expect_saved(mine)
    await expect(task(theirs, "Kept by one tab")).to_have_count(1, timeout=stretched(RECOVERED_MS))
    await delete(theirs, "Kept by one tab")
    await expect(task(mine, "Kept by one tab")).to_have_count(0)
