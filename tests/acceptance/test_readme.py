"""The README, followed word by word in a fresh checkout: each of its commands is typed, its answers are compared.

The tests share one run of Roots. Each passes alone too, so that its order among them is no matter.
"""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from tests.docs.commands import blocks, commands
from tests.testkit.deadlines import until

from .checkout import Newcomer
from .page import add, expect_shared, open_page, task
from .tutorial import ADDRESS, Typist, steps

RUN, TUTORIAL, LISTEN = commands("README.md")
(SNIPPET,) = [block.text for block in blocks("README.md") if block.language == "html"]

# The first start downloads everything.
pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def address(newcomer: Newcomer) -> str:
    """Start Roots as the README says, and return the address that is printed."""
    assert "make run" == RUN.strip()
    return newcomer.run(RUN)


@pytest.mark.asyncio(loop_scope="session")
async def test_other_window_shows_the_task_when_it_is_added_at_the_printed_address(
    address: str, browser: Browser
) -> None:
    """Two windows at the address that `make run` prints, in a folder whose path has a space, a dot and braces."""
    await expect_shared(browser, address, "Water the plants")


@pytest.mark.asyncio(loop_scope="session")
async def test_inspect_shows_polls_when_it_is_open(address: str, browser: Browser) -> None:
    """The page that the README names shows this browser's polls as they are held."""
    page = await open_page(browser, f"{address}/inspect")

    await expect(page.get_by_test_id("held")).to_have_text(re.compile(r"\d"))
    await expect(page.get_by_test_id("sequence")).to_have_text(re.compile(r"\d"))


def test_tutorial_answers_as_it_shows_when_it_is_typed(address: str, newcomer: Newcomer) -> None:
    """Each of its curl commands, with the answers put in that the newcomer has got (I1, I2)."""
    typist = Typist(address=newcomer.url.removeprefix("http://"), env=newcomer.env)
    tutorial = steps(TUTORIAL)
    assert len(tutorial) > 6

    for step in tutorial:
        typist.type(step)


@pytest.mark.asyncio(loop_scope="session")
async def test_snippet_gets_the_task_when_it_is_put_into_a_page(
    address: str, newcomer: Newcomer, browser: Browser
) -> None:
    """The README's Pomona snippet, in a page of the same origin, logs what another window adds."""
    page = await (await browser.new_context()).new_page()
    logged: list[str] = []
    page.on("console", lambda line: logged.append(line.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    await page.route("**/mine", lambda route: route.fulfill(content_type="text/html", body=SNIPPET))
    async with page.expect_response(lambda answer: "/tasks/connect/" in answer.url):
        await page.goto(f"{newcomer.url}/mine")

    await add(await open_page(browser, address), "Feed the cat")

    await until(lambda: any("Feed the cat" in line for line in logged))


@pytest.mark.asyncio(loop_scope="session")
async def test_listen_prints_the_task_when_it_is_added(address: str, newcomer: Newcomer, browser: Browser) -> None:
    """The README's `cornelius listen` connects and prints what a window adds; Ctrl-C ends it without a traceback."""
    command = LISTEN.strip().replace(ADDRESS, newcomer.url.removeprefix("http://"))
    with newcomer.open_terminal("/bin/bash", "-c", f"exec {command}") as terminal:
        await asyncio.to_thread(terminal.wait_for, re.compile("connected tasks"), 20.0)

        await add(await open_page(browser, address), "Call Ann")

        await asyncio.to_thread(terminal.wait_for, re.compile('"path": "tasks".*Call Ann'), 20.0)
        terminal.interrupt()
        assert "Traceback" not in terminal.text


@pytest.mark.asyncio(loop_scope="session")
async def test_tasks_are_there_when_it_is_started_again_after_ctrl_c(
    address: str, newcomer: Newcomer, browser: Browser
) -> None:
    """Ctrl-C leaves no process and no stack.json; the second start has the same tasks (I1)."""
    await add(await open_page(browser, address), "Still here")
    known = {process.pid for process in newcomer.stack().processes}
    assert None not in known
    assert known <= newcomer.processes().keys()

    await asyncio.to_thread(newcomer.interrupt)

    assert {} == newcomer.processes()
    assert not (newcomer.folder / ".roots" / "stack.json").exists()
    again = await asyncio.to_thread(newcomer.run, RUN)
    assert address == again
    await expect(task(await open_page(browser, again), "Still here")).to_have_count(1)


@pytest.mark.asyncio(loop_scope="session")
async def test_tasks_are_there_when_the_checkout_was_moved(
    address: str, newcomer: Newcomer, browser: Browser, tmp_path: Path
) -> None:
    """`make run` makes .venv again at the new place: here with other letters, a strict umask and no UTF-8 locale."""
    await add(await open_page(browser, address), "Moved too")
    await asyncio.to_thread(newcomer.interrupt)
    newcomer.move(tmp_path / "Übung №1" / "roots")

    again = await asyncio.to_thread(newcomer.run, f"umask 077\nexport LC_ALL=C\n{RUN}")

    await expect(task(await open_page(browser, again), "Moved too")).to_have_count(1)
