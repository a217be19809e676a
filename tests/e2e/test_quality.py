"""Both pages for everyone: nothing for axe to find, on a small screen too, with keys alone, and without a jump."""

import asyncio
import re
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route, expect
from tests.testkit.deadlines import stretched

from roots_devstack.stack import Stack

from .conftest import NewPage
from .todo_page import RECOVERED_MS, add, delete, edit, expect_saved, shown, task, type_new, visible

# Cumulative layout shift, as browsers report it. A tenth is what is called good; a hundredth is a pixel here or there.
UNSEEN_SHIFT = 0.01
SHIFTED = """() => {
  const observer = new PerformanceObserver(() => {});
  observer.observe({ type: "layout-shift", buffered: true });
  return new Promise((resolve) => requestAnimationFrame(() => setTimeout(() => {
    resolve(observer.takeRecords().reduce((sum, { value }) => sum + value, 0));
  })));
}"""

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def violations(page: Page) -> list[str]:
    """Return what axe finds, each with the elements that it is about."""
    results = await Axe().run(page)
    return [f"{found['id']}: {[node['html'] for node in found['nodes']]}" for found in results.response["violations"]]


async def is_too_wide(page: Page) -> bool:
    """Return whether the page scrolls sideways."""
    return bool(await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


async def test_axe_finds_nothing_when_the_list_is_in_any_state(new_page: NewPage, tmp_path: Path) -> None:
    """Empty, filled, offline, asking, refusing; light and dark; wide and as small as phones are."""
    mine, theirs = await new_page(), await new_page()
    await expect(mine.get_by_test_id("loading")).to_be_hidden()
    await expect(mine.get_by_test_id("empty")).to_be_visible()

    async def check(name: str) -> None:
        for scheme in ("light", "dark"):
            await mine.emulate_media(color_scheme=scheme)
            for width in (900, 320):
                await mine.set_viewport_size({"width": width, "height": 700})
                await mine.screenshot(path=tmp_path / f"{name}-{scheme}-{width}.png")
                assert ([], False) == (await violations(mine), await is_too_wide(mine)), (name, scheme, width)

    await check("empty")
    await add(mine, "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft")
    await add(mine, "Buy milk")
    await expect(task(theirs, "Buy milk")).to_have_count(1)
    await mine.context.set_offline(True)
    await edit(mine, "Buy milk", "Buy soy milk")
    await edit(theirs, "Buy milk", "Buy oat milk")
    await expect_saved(theirs)
    await check("offline")
    await mine.context.set_offline(False)
    await expect(visible(mine, "conflict")).to_have_count(1, timeout=stretched(RECOVERED_MS))
    await type_new(mine, "m" * 10_000)
    await expect(mine.get_by_test_id("error-text")).to_have_text(re.compile("^Not added. .*2000 characters.*10000"))
    # What is too long comes back whole: a field that cuts it loses its end without a word.
    await expect(mine.get_by_test_id("new-task")).to_have_value("m" * 10_000)
    await check("conflict")


@pytest.mark.parametrize("width", [900, 320])
async def test_polls_are_shown_when_a_page_is_open(browser: Browser, stack: Stack, tmp_path: Path, width: int) -> None:
    """Polls, cursor, delays and messages; axe finds nothing, and no uid is shown whole."""
    context = await browser.new_context(viewport={"width": width, "height": 900})
    page = await context.new_page()
    errors: list[str] = []
    page.on("console", lambda line: errors.append(line.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    uids: list[str] = []
    page.on("request", lambda request: uids.extend(re.findall(r"/comet/([^/]+)/", request.url)))
    await page.goto(f"{stack.url}/todos/inspect")
    await expect(page.get_by_test_id("messages")).to_contain_text("the path is confirmed")
    await page.get_by_test_id("try").click()

    await expect(page.get_by_test_id("messages")).to_contain_text('"DELETE":true')
    await expect(page.get_by_test_id("leader")).to_have_text("This tab")
    await expect(page.get_by_test_id("sequence")).to_have_text(re.compile(r"Message \d+"))
    assert 2 == sum(map(int, await page.locator("[data-testid=delays] b").all_text_contents()))
    text = await page.locator("body").inner_text()
    assert uids
    assert not any(uid in text for uid in uids)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        await page.screenshot(path=tmp_path / f"inspect-{scheme}-{width}.png", full_page=True)
        assert ([], False) == (await violations(page), await is_too_wide(page)), scheme
    assert [] == errors


async def test_text_is_shown_as_it_is_when_it_looks_like_markup(new_page: NewPage) -> None:
    """What a task says is never run, in its own row and in what is said of it; the policy would forbid it besides."""
    mine, theirs = await new_page(), await new_page()
    markup = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    await add(mine, markup)
    await expect(task(theirs, markup)).to_have_count(1)
    await expect(theirs.get_by_test_id("announcements")).to_contain_text("<img src=x onerror")
    await delete(theirs, markup)
    await expect(theirs.get_by_test_id("undo-text")).to_contain_text("<img src=x onerror")
    for page in (mine, theirs):
        assert (0, "Todos · Roots") == (await page.locator("main img[src=x], main script").count(), await page.title())


async def test_nothing_is_sent_when_nothing_of_a_description_can_be_seen(new_page: NewPage) -> None:
    """The page and the task API agree on what is empty: no task, no error, and an emptied task is deleted."""
    page = await new_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method) if request.method in {"POST", "PATCH"} else None)
    await add(page, "Seen e2e")
    await expect_saved(page)
    count = len(sent)
    for unseen in ("\u200b", " \u2060\u3164 ", "\u2800"):
        await type_new(page, unseen)
    await task(page, "Seen e2e").get_by_test_id("edit").click()
    await visible(page, "editor").fill("\u200b")
    await visible(page, "editor").press("Enter")
    await expect(task(page, "Seen e2e")).to_have_count(0)
    await expect_saved(page)
    await expect(page.get_by_test_id("error")).to_be_hidden()
    assert len(sent) == count


async def test_page_says_so_when_it_shows_a_part_of_the_list(browser: Browser, stack: Stack) -> None:
    """The next page is at another origin, which the page does not ask."""
    page = await (await browser.new_context()).new_page()

    async def cut(route: Route) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, headers=answer.headers | {"link": '<http://x.test/tasks>; rel="next"'})

    await page.route("**/tasks", cut)
    await page.goto(f"{stack.url}/todos")
    await expect(page.get_by_test_id("error-text")).to_have_text("There are more tasks than can be shown here.")


async def test_nothing_jumps_when_the_list_is_loaded_and_others_add_to_it(
    browser: Browser, new_page: NewPage, stack: Stack
) -> None:
    """The place for the list is kept, a task at the end moves none before it, and a notice lies over the page."""
    theirs, mine = await new_page(), await (await browser.new_context()).new_page()
    await add(theirs, "Was there")
    await expect_saved(theirs)
    may_come = asyncio.Event()

    async def delay(route: Route) -> None:
        await may_come.wait()
        await route.continue_()

    await mine.route("**/tasks", delay)
    await mine.goto(f"{stack.url}/todos")
    await expect(mine.get_by_test_id("loading")).to_be_visible()
    await mine.screenshot()
    may_come.set()
    await expect(task(mine, "Was there")).to_have_count(1)
    await add(theirs, "At the end")
    await expect(task(mine, "At the end")).to_have_count(1)
    assert await mine.evaluate(SHIFTED) < UNSEEN_SHIFT
    await delete(theirs, "Was there")
    await delete(theirs, "At the end")


async def test_tasks_are_moved_by_keys_and_by_pointer_when_the_user_wants_another_order(new_page: NewPage) -> None:
    """The order is this browser's, and stays after a reload; others keep theirs."""
    mine, theirs = await new_page(), await new_page()
    for description in ("One e2e", "Two e2e", "Three e2e"):
        await add(mine, description)
    await expect(task(theirs, "Three e2e")).to_have_count(1)
    await expect_saved(mine)
    first = [text for text in await shown(mine) if not text.endswith("e2e")]

    await task(mine, "Three e2e").get_by_test_id("move").focus()
    await mine.keyboard.press("ArrowUp")
    await expect(mine.get_by_test_id("description")).to_have_text([*first, "One e2e", "Three e2e", "Two e2e"])
    await expect(task(mine, "Three e2e").get_by_test_id("move")).to_be_focused()
    await expect(mine.get_by_test_id("announcements")).to_have_text(re.compile(r"Moved to \d+ of \d+\."))
    await task(mine, "One e2e").get_by_test_id("move").hover()
    await mine.mouse.down()
    box = await task(mine, "Two e2e").bounding_box()
    assert box is not None
    await mine.mouse.move(box["x"] + 10, box["y"] + box["height"] - 2, steps=5)
    await mine.mouse.up()
    moved = [*first, "Three e2e", "Two e2e", "One e2e"]
    await expect(mine.get_by_test_id("description")).to_have_text(moved)
    await mine.reload()
    await expect(mine.get_by_test_id("description")).to_have_text(moved)
    await expect(theirs.get_by_test_id("description")).to_have_text([*first, "One e2e", "Two e2e", "Three e2e"])
    for description in ("One e2e", "Two e2e", "Three e2e"):
        await delete(mine, description)
    await expect_saved(mine)


async def test_page_shows_what_is_left_or_done_when_a_filter_is_chosen(new_page: NewPage) -> None:
    """The filter is in the address; a task that no longer belongs leaves, and the focus goes to a neighbour."""
    page = await new_page()
    await add(page, "Active e2e")
    await add(page, "Done e2e")
    await task(page, "Done e2e").get_by_test_id("tick").check()
    await page.get_by_role("link", name="Done").click()
    await expect(task(page, "Active e2e")).to_have_count(0)
    assert page.url.endswith("#done")
    await page.get_by_role("link", name="Active").click()
    await expect(task(page, "Done e2e")).to_have_count(0)
    await task(page, "Active e2e").get_by_test_id("tick").press("Space")
    await expect(task(page, "Active e2e")).to_have_count(0)
    assert "BODY" != await page.evaluate("document.activeElement.tagName")
    await page.go_back()
    await expect(task(page, "Active e2e")).to_have_count(1)
    await delete(page, "Active e2e")
    await delete(page, "Done e2e")
    await expect_saved(page)


async def test_screen_reader_is_told_when_others_change_the_list(new_page: NewPage) -> None:
    """In a sentence, and not of one's own doing."""
    mine, theirs = await new_page(), await new_page()
    await add(mine, "Spoken e2e")
    await expect(theirs.get_by_test_id("announcements")).to_have_text("Added elsewhere: Spoken e2e.")
    await delete(theirs, "Spoken e2e")
    await expect(mine.get_by_test_id("announcements")).to_have_text("Deleted elsewhere: Spoken e2e.")
    await expect(theirs.get_by_test_id("announcements")).to_have_text("Added elsewhere: Spoken e2e.")
