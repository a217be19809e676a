"""The chat, started by its README's commands: three people, and processes that are killed while they write."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Error, Locator, Page, Response, expect
from tests.docs.commands import commands
from tests.testkit.application import gateway_to
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import until

from roots_devstack.processes import ports, probes
from roots_devstack.servers.postgres import Postgres
from roots_devstack.stack import Stack

from .readme_commands import copy_example, terminal

in_one_loop = pytest.mark.asyncio(loop_scope="session")

EXAMPLE = Path("examples/chat")
ROOTS, CHAT, RELAY = commands("examples/chat/README.md")
NAMES = ("ann", "bob", "eve")
MESSAGES = 15
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Chat:
    """The running application. `group` has its workers; `relay()` runs a relay, and yields the group of that."""

    url: str
    group: int
    relay: Callable[[], AbstractContextManager[int]]

    def workers(self) -> list[int]:
        """Return the processes that answer requests."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.getpgid(int(process.name)) == self.group and b"spawn_main" in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory, home: Path, stack: Stack, background: LoopThread) -> Iterator[Chat]:
    """Yield the chat, with a database in the Postgres of the running system, as its README has it."""
    folder, port = copy_example(EXAMPLE, tmp_path_factory.mktemp("checkout"), home), ports.reserve()
    postgres = stack.part("postgres")
    assert isinstance(postgres, Postgres)
    env = {
        "ROOTS_BACKEND_API_URL": str(stack.processes["subscriptions"].backend_api_url),
        "ROOTS_ADMIN_PORT": str(ports.reserve()),
        "PYTHONWARNINGS": "",
    }
    relays = count(1)

    def typed(block: str, log: str) -> AbstractContextManager[int]:
        assert "127.0.0.1:5433/" in block
        return terminal(block.replace("127.0.0.1:5433/", f"{ports.HOST}:{postgres.port}/"), folder, env, folder / log)

    assert "--port 8000" in CHAT
    with ExitStack() as ends:
        group = ends.enter_context(typed(CHAT.replace("--port 8000", f"--port {port}"), "chat.log"))
        url = ends.enter_context(gateway_to(f"{ports.HOST}:{port}", stack, folder, background))
        background.run(until(lambda: _is_answered(url), READY_SECONDS))
        yield Chat(url, group, lambda: typed(RELAY, f"relay-{next(relays)}.log"))


async def _is_answered(url: str) -> bool:
    answer = await probes.get(url)
    return answer is not None and answer.status == 200


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is logged in, with a browser of their own. `polled` has the body of each answer to their polls."""

    name: str
    page: Page
    polled: list[str] = field(default_factory=list)

    def all(self, name: str) -> Locator:
        """Return the entries of a list of the page."""
        return self.page.get_by_test_id(name).get_by_role("listitem")

    async def fill(self, label: str, text: str, button: str) -> None:
        """Write into a field, and press a button."""
        await self.page.get_by_label(label, exact=True).fill(text)
        await self.page.get_by_role("button", name=button).click()
        await expect(self.page.get_by_label(label, exact=True)).to_have_value("")

    async def open_room(self, title: str) -> int:
        """Open a room, and return its number."""
        await self.fill("New room", title, "Open")
        await expect(self.page.get_by_test_id("title")).to_have_text(title)
        return int(self.page.url.partition("#")[2])

    async def enter(self, title: str) -> None:
        """Show a room."""
        await self.page.get_by_role("link", name=title).click()

    async def post(self, room: int, number: int) -> None:
        """Send a message until it is answered, as the page does when its person presses the button again."""

        async def is_stored() -> bool:
            with suppress(Error):
                data = {"text": f"{number}", "key": f"{number}"}
                return (await self.page.request.post(f"/rooms/{room}/messages", data=data)).ok
            return False

        await until(is_stored, READY_SECONDS)


@pytest_asyncio.fixture(loop_scope="session")
async def people(browser: Browser, chat: Chat) -> AsyncIterator[list[Person]]:
    """Yield three people on the page; an error that a page does not catch fails the test."""
    errors: list[str] = []

    async def arrive(name: str) -> Person:
        context = await browser.new_context(base_url=chat.url, viewport={"width": 900, "height": 640})
        person = Person(name, await context.new_page())

        async def note(response: Response) -> None:
            if "/comet/" in response.url:
                with suppress(Error):
                    person.polled.append(await response.text())

        person.page.on("pageerror", lambda error: errors.append(str(error)))
        person.page.on("response", note)
        await person.page.goto("/")
        await person.page.get_by_label("Your name").fill(name)
        await person.page.get_by_role("button", name="Log in").click()
        await expect(person.page.get_by_test_id("state")).to_have_text("live")
        return person

    yield [await arrive(name) for name in NAMES]
    assert errors == []


@in_one_loop
@pytest.mark.timeout(400)
async def test_members_alone_receive_messages_when_people_are_invited_and_kicked(
    people: list[Person], chat: Chat, tmp_path: Path
) -> None:
    """I2, I5: who is invited joins at once, and again after a kick; a stranger at the same address receives nothing."""
    ann, bob, eve = people
    with chat.relay():
        room = await ann.open_room("Garden")
        await eve.page.goto(f"/#{room}")
        await expect(eve.page.get_by_test_id("title")).to_have_text("You are not a member of this room.")
        await ann.fill("Person", "bob", "Invite")
        await expect(bob.all("notices")).to_have_text(["ann has invited you to Garden"])
        await bob.enter("Garden")
        for number in range(3):
            await ann.fill("Message", f"Rose {number}", "Send")
            await bob.fill("Message", f"Oak {number}", "Send")
        said = [f"{line} {number}" for number in range(3) for line in ("ann: Rose", "bob: Oak")]
        for person in (ann, bob):
            await expect(person.all("messages")).to_have_text(["ann has invited bob", *said])
            await person.page.screenshot(path=tmp_path / f"{person.name}.png")

        await ann.fill("Person", "bob", "Kick")
        await expect(bob.all("notices")).to_have_count(2)
        await expect(bob.page.get_by_test_id("title")).to_have_text("You are not a member of this room.")
        await ann.fill("Message", "Behind his back", "Send")
        await expect(ann.all("messages")).to_have_count(9)
        assert 403 == (await bob.page.request.post(f"/rooms/{room}/messages", data={"text": "No", "key": "no"})).status

        await ann.fill("Person", "bob", "Invite")
        await expect(bob.all("notices")).to_have_count(3)
        # The list is loaded once the path is confirmed. What is written from then on comes by the poll.
        await expect(bob.page.get_by_text("Behind his back")).to_be_visible()
        await ann.fill("Message", "Welcome back", "Send")
        for person in (ann, bob):
            await expect(person.all("messages").last).to_have_text("ann: Welcome back")
        await until(lambda: "Welcome back" in "".join(bob.polled))
        assert "Behind his back" not in "".join(bob.polled)

        # What eve receives after this was published after all that she was not to receive.
        await bob.fill("Person", "eve", "Invite")
        await expect(eve.all("notices")).to_have_text(["bob has invited you to Garden"])
        await until(lambda: "Garden" in "".join(eve.polled))
        assert [] == re.findall(r"Rose \d|Oak \d|Welcome back", "".join(eve.polled))


@in_one_loop
@pytest.mark.timeout(400)
async def test_no_message_is_lost_when_a_worker_and_the_relay_are_killed_while_people_write(
    people: list[Person], chat: Chat
) -> None:
    """I1, I2, I11: each page shows each message once, in the order of the commits."""
    ann, *others = people
    with chat.relay() as relay:
        room = await ann.open_room("Shed")
        for person in others:
            await ann.fill("Person", person.name, "Invite")
            await person.enter("Shed")

        async def write(person: Person) -> None:
            for number in range(MESSAGES):
                await person.post(room, number)

        async with asyncio.TaskGroup() as writing:
            for person in people:
                writing.create_task(write(person))
            await expect(ann.page.get_by_text("bob: 2")).to_be_visible()
            os.killpg(relay, signal.SIGKILL)
            before = chat.workers()
            assert 2 == len(before)
            os.kill(before[0], signal.SIGKILL)
    with chat.relay():
        stored = await (await ann.page.request.get(f"/rooms/{room}/messages")).json()
        shown = [f"{item['author']}{' ' if item['is_note'] else ': '}{item['text']}" for item in reversed(stored)]
        assert sorted(f"{name}: {number}" for name in NAMES for number in range(MESSAGES)) == sorted(shown[2:])
        for person in people:
            await expect(person.all("messages")).to_have_text(shown)
        await until(lambda: 2 == len(chat.workers()) and before != chat.workers())


def test_roots_is_started_for_the_chat_when_the_first_command_is_typed() -> None:
    """The three variables are what the other commands count on; tests of `make run` start it with each."""
    ports_of_readme = {"ROOTS_APP_UPSTREAM=127.0.0.1:8000", "ROOTS_BACKEND_API_PORT=8004", "ROOTS_POSTGRES_PORT=5433"}
    assert {*ports_of_readme, "make", "run"} == {*ROOTS.split()}
