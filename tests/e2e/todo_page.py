"""What a person does with the todo page, and what they see of it."""

from playwright.async_api import Locator, Page, expect
from tests.testkit.deadlines import stretched

SEEN_MS = 1000
"""A change is seen within a second."""

RECOVERED_MS = 20_000
"""After a fault, a restart and the client's back-off come first."""


def task(page: Page, description: str) -> Locator:
    """Return the item with that description."""
    return page.get_by_test_id("task").filter(has_text=description)


def visible(page: Page, test_id: str) -> Locator:
    """Return the element of that kind that is shown: each task has one."""
    return page.get_by_test_id(test_id).and_(page.locator(":visible"))


async def add(page: Page, description: str) -> None:
    """Type a new task and press Enter; return once it is in the list."""
    await type_new(page, description)
    await expect(task(page, description)).to_have_count(1)


async def type_new(page: Page, description: str) -> None:
    """Type a new task and press Enter."""
    await page.get_by_test_id("new-task").fill(description)
    await page.get_by_test_id("new-task").press("Enter")


async def edit(page: Page, description: str, new_description: str) -> None:
    """Change a task's description in place; return once the list has it."""
    await task(page, description).get_by_test_id("edit").click()
    await visible(page, "editor").fill(new_description)
    await visible(page, "editor").press("Enter")
    await expect(task(page, new_description)).to_have_count(1)


async def delete(page: Page, description: str) -> None:
    """Delete a task; return once it is gone from the list."""
    await task(page, description).get_by_test_id("delete").click()
    await expect(task(page, description)).to_have_count(0)


async def shown(page: Page) -> list[str]:
    """Return the descriptions on the page, in their order."""
    return await page.get_by_test_id("description").all_text_contents()


async def expect_state(page: Page, state: str) -> None:
    """Wait until the page says so of its connection."""
    await expect(page.get_by_test_id("state")).to_have_attribute("data-state", state, timeout=stretched(RECOVERED_MS))


async def expect_saved(page: Page) -> None:
    """Wait until nothing waits to be sent."""
    await expect(page.get_by_test_id("unsent")).to_have_text("", timeout=stretched(RECOVERED_MS))
