"""Three people at the todo page for a while, and everything that goes wrong; then all pages are equal to Postgres.

    python -m tests.e2e.session --minutes 5 --seed 1

The seed decides what everyone does and which faults there are; when an answer comes is the machine's own.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psycopg
from playwright.async_api import Browser, Page, async_playwright
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import clock

from roots_devstack.stack import Stack, StackConfig

from .conftest import FLAGS, find_chromium
from .todo_page import expect_state

PEOPLE = 3
SETTLED_SECONDS = 60.0
MAX_TASKS = 25
PAUSE_SECONDS = (0.05, 0.6)
FAULT_EVERY_SECONDS = (0.5, 3.0)
FAULT_SECONDS = (0.5, 4.0)
KILLED = ["longpoll-1", "longpoll-2", "nats", "subscriptions", "tasks", "relay", "gateway", "postgres"]

# In the page and in one turn, so that no answer comes between the choice of a row and what is done to it.
ACT = """([kind, chance, text]) => {
  const rows = [...document.querySelectorAll("[data-testid=task]")];
  const row = rows[Math.floor(chance * rows.length)];
  const part = (name) => row?.querySelector(`[data-testid=${name}]`);
  const press = (element, key) => element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  if (kind === "add") {
    document.querySelector("[data-testid=new-task]").value = text;
    document.querySelector("[data-testid=add]").click();
  } else if (kind === "edit" && row) {
    part("edit").click();
    part("editor").value = text;
    press(part("editor"), "Enter");
  } else if (kind === "move" && row) {
    press(part("move"), chance < 0.5 ? "ArrowDown" : "ArrowUp");
  } else if (kind === "undo") {
    const offer = document.querySelector("[data-testid=undo-offer]");
    if (!offer.hidden) document.querySelector("[data-testid=undo]").click();
  } else if (row) {
    part(kind).click();
  }
}"""

DECIDE = """(choice) => [...document.querySelectorAll(`[data-testid=conflict]:not([hidden]) [data-testid=${choice}]`)]
  .map((button) => button.click()).length"""

SHOWN = """() => Object.fromEntries([...document.querySelectorAll("[data-testid=task]")].map((row) => [
  row.dataset.guid,
  [row.querySelector("[data-testid=description]").textContent, row.querySelector("[data-testid=tick]").checked],
]))"""

Tasks = dict[str, list[Any]]
Undo = Callable[[], Coroutine[Any, Any, None]]


class Session:
    """One session on a running stack."""

    def __init__(self, stack: Stack, background: LoopThread, browser: Browser, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self._stack = stack
        self._background = background
        self._browser = browser
        self._seed = seed
        self._ends_at = 0.0

    async def run(self, seconds: float) -> tuple[Tasks, list[Tasks]]:
        """Let everyone and every fault do what they do; return what Postgres has then, and what each page shows."""
        self._ends_at = time.monotonic() + seconds
        pages = [await self._open(number) for number in range(PEOPLE)]
        async with asyncio.TaskGroup() as group:
            for number, page in enumerate(pages):
                group.create_task(self._act(page, random.Random(f"{self._seed} person {number}")))  # noqa: S311
            group.create_task(self._break(pages, random.Random(f"{self._seed} faults")))  # noqa: S311
        return await self._settle(pages)

    async def _open(self, number: int) -> Page:
        context = await self._browser.new_context()
        page = await context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"person {number}: {error}"))
        await page.goto(f"{self._stack.url}/todos")
        await expect_state(page, "live")
        return page

    async def _act(self, page: Page, chance: random.Random) -> None:
        kinds = {"add": 4, "tick": 5, "edit": 5, "delete": 2, "move": 1, "undo": 1}
        number = 0
        while time.monotonic() < self._ends_at:
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
            is_full = await page.get_by_test_id("task").count() >= MAX_TASKS
            kind = "delete" if is_full else chance.choices(list(kinds), list(kinds.values()))[0]
            number += 1
            await page.evaluate(ACT, [kind, chance.random(), f"{kind} {number} {chance.randrange(10**6):06}"])
            self.counts[kind] += 1
            self.counts["decided"] += await page.evaluate(DECIDE, chance.choice(["mine", "theirs"]))

    async def _break(self, pages: list[Page], chance: random.Random) -> None:
        """Break one thing after the other, and mend it after a while; faults overlap."""
        async with asyncio.TaskGroup() as group:
            while (left := self._ends_at - time.monotonic()) > 0:
                await asyncio.sleep(min(left, chance.uniform(*FAULT_EVERY_SECONDS)))
                fault = chance.choice([self._lose_network, self._freeze, self._kill, self._kill])
                group.create_task(fault(chance.choice(pages), chance))

    async def _lose_network(self, page: Page, chance: random.Random) -> None:
        self.counts["offline"] += 1
        await page.context.set_offline(True)
        await asyncio.sleep(chance.uniform(*FAULT_SECONDS))
        await page.context.set_offline(False)

    async def _freeze(self, page: Page, chance: random.Random) -> None:
        self.counts["frozen"] += 1
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
        await asyncio.sleep(chance.uniform(*FAULT_SECONDS))
        await devtools.send("Page.setWebLifecycleState", {"state": "active"})
        await devtools.detach()

    async def _kill(self, _page: Page, chance: random.Random) -> None:
        name = chance.choice(KILLED)
        self.counts[f"killed {name}"] += 1
        await asyncio.to_thread(self._background.run, faults.kill(self._stack, name))

    async def _settle(self, pages: list[Page]) -> tuple[Tasks, list[Tasks]]:
        """Wait until nothing is on its way; a page that is not equal to Postgres by then never would be."""
        await asyncio.to_thread(self._background.run, self._stack.wait_ready())
        for page in pages:
            await page.context.set_offline(False)
            await expect_state(page, "live")
        deadline = clock() + SETTLED_SECONDS
        while True:
            for page in pages:
                self.counts["decided"] += await page.evaluate(DECIDE, "mine")
            is_sent = not any([await page.get_by_test_id("unsent").text_content() for page in pages])
            shown = [await page.evaluate(SHOWN) for page in pages]
            stored = await asyncio.to_thread(read_tasks, str(self._stack.processes["postgres"].url))
            if (is_sent and all(page == stored for page in shown)) or clock() > deadline:
                return stored, shown
            await asyncio.sleep(0.2)


def read_tasks(url: str) -> Tasks:
    """Return the tasks as Postgres has them, by their guids."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id, description, is_done FROM task")
        return {f"/task/{number}": [description, is_done] for number, description, is_done in rows}


async def run_alone(seconds: float, seed: int, stack: Stack, background: LoopThread) -> bool:
    """Run a session in a browser of its own, and tell of it. Return whether all pages were right."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        session = Session(stack, background, browser, seed)
        stored, shown = await session.run(seconds)
        await browser.close()
    counts = ", ".join(f"{name} {count}" for name, count in sorted(session.counts.items()))
    sys.stdout.write(f"seed {seed}, {seconds:.0f} s: {counts}\n{len(stored)} tasks in the end\n")
    for error in session.errors:
        sys.stdout.write(f"error: {error}\n")
    for number, tasks in enumerate(shown):
        wrong = {guid for guid in stored.keys() | tasks.keys() if stored.get(guid) != tasks.get(guid)}
        verdict = f"is wrong about {sorted(wrong)}" if wrong else "is equal to Postgres"
        sys.stdout.write(f"page {number} {verdict}\n")
    return not session.errors and all(tasks == stored for tasks in shown)


def main() -> None:
    """Run the session that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.session")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, LoopThread() as background:
        config = StackConfig(home=Path(home), longpoll_replicas=2)
        with background.entered(Stack(config)) as stack:
            is_good = asyncio.run(run_alone(arguments.minutes * 60, arguments.seed, stack, background))
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
