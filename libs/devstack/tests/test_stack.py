"""The whole system: what comes back, what stays, and what the gateway sends where."""

import http.client
import re
import signal
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.testkit import faults
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, within

from roots_devstack.home import StackInfo
from roots_devstack.keys import Keys
from roots_devstack.stack import Stack, StackConfig

NAMES = ["postgres", "nats", "gateway", "tasks", "relay", "subscriptions", "longpoll-1", "longpoll-2"]
PROBLEM = "application/problem+json"


class Reply(NamedTuple):
    """What a browser gets."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(stack: Stack, method: str, path: str, body: str | None = None, **headers: str) -> Reply:
    """Send one request through the gateway."""
    connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=stretched(30))
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    finally:
        connection.close()


def published(home: Path) -> StackInfo:
    """Read `stack.json`."""
    return msgspec.json.decode((home / "stack.json").read_bytes(), type=StackInfo)


@pytest.fixture(scope="module")
def background() -> Iterator[LoopThread]:
    """Yield a loop that outlives each test."""
    with LoopThread() as background:
        yield background


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the stack that the tests share."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def stack(background: LoopThread, home: Path) -> Iterator[Stack]:
    """Yield a stack that the tests share; each leaves it ready."""
    with background.entered(Stack(StackConfig(home=home, longpoll_replicas=2))) as stack:
        yield stack


@pytest.mark.parametrize("name", NAMES)
def test_process_is_back_and_published_when_it_was_killed(
    background: LoopThread, home: Path, stack: Stack, name: str
) -> None:
    """After `kill -9` another process serves at the same address, and stack.json names it."""
    before = stack.processes[name]

    background.run(faults.kill(stack, name))
    background.run(stack.wait_ready())

    after = stack.processes[name]
    assert before.pid != after.pid
    assert (before.url, before.admin_url) == (after.url, after.admin_url)
    assert stack.processes == {process.name: process for process in published(home).processes}


def test_stack_json_is_private_when_written(home: Path, stack: Stack) -> None:
    """The database's URL in it has a password (I10)."""
    assert 0o600 == stat.S_IMODE((home / "stack.json").stat().st_mode)


def test_request_succeeds_when_its_service_is_down_for_a_moment(background: LoopThread, stack: Stack) -> None:
    """The gateway waits for a service that is being started again instead of failing the request."""
    for name, path in (("tasks", "/tasks"), ("longpoll-1", "/comet/"), ("longpoll-2", "/comet/")):
        background.run(faults.kill(stack, name))

        assert 200 == ask(stack, "GET", path).status
        background.run(stack.wait_ready())


def test_write_succeeds_when_tasks_restarts(background: LoopThread, stack: Stack) -> None:
    """A restart in order fails no request: what is under way is answered, the rest waits for the new process."""
    restart = background.submit(faults.restart(stack, "tasks"))
    statuses = set()
    while not restart.done():
        statuses.add(ask(stack, "POST", "/tasks", '{"description": "while restarting"}').status)

    restart.result()
    assert {201} == statuses


def test_task_is_there_when_every_store_was_killed(background: LoopThread, stack: Stack) -> None:
    """A created task outlives Postgres and NATS."""
    location = ask(stack, "POST", "/tasks", '{"description": "lasting"}').headers["location"]

    for name in ("postgres", "nats"):
        background.run(faults.kill(stack, name))
    background.run(stack.wait_ready())

    assert 200 == ask(stack, "GET", location).status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/comet", 200),
        ("/comet/", 200),
        ("/tasks", 200),
        ("/tasks/", 200),
        ("/task/999999", 404),
        ("/todos", 200),
        ("/todos/", 200),
        ("/todos/pomona/firenze.js", 200),
        ("/todos/todos.js", 404),
        ("/todos/assets/", 404),
        ("/todos/assets/todos.000000000000.js", 404),
        ("/todos/nowhere", 404),
        ("/todos/tests/", 404),
        ("/todos/tests/model.test.js", 404),
        ("/todos//tests/model.test.js", 404),
        ("/todos/./%74ests/model.test.js", 404),
        ("/cometx", 404),
        ("/tasksx", 404),
        ("/todosx", 404),
        ("/metrics", 404),
        ("/todos/../../../etc/passwd", 404),
    ],
)
def test_gateway_answers_when_a_path_is_asked(stack: Stack, path: str, status: int) -> None:
    """Each service is where protocol.md says, and nothing else is reachable."""
    reply = ask(stack, "GET", path)

    assert status == reply.status
    assert "nosniff" == reply.headers["x-content-type-options"]
    if status == 404:
        assert PROBLEM == reply.headers["content-type"]


@pytest.mark.parametrize("command", ["connect", "disconnect"])
@pytest.mark.parametrize("app", ["tasks", "shop"])
def test_gateway_asks_subscriptions_when_an_app_connects(stack: Stack, app: str, command: str) -> None:
    """Every application's connect and disconnect reach the same service, which knows the uid or refuses it."""
    reply = ask(stack, "POST", f"/{app}/{command}/not-a-uid", '["tasks"]')

    assert (410 if app == "tasks" else 404, PROBLEM) == (reply.status, reply.headers["content-type"])


@pytest.mark.parametrize(
    "path", ["/", "/v1/publish", "/v1/revoke", "/v1/clients/x", "/comet/v1/publish", "//v1/publish"]
)
def test_gateway_has_no_route_to_the_api_when_a_back_end_calls(home: Path, stack: Stack, path: str) -> None:
    """What browsers reach publishes nothing for back ends, with or without their key."""
    key = Keys(home / "secrets").get("backend-todos")
    body = '[{"path": "tasks", "message": "from outside"}]'

    reply = ask(stack, "POST", path, body, Authorization=f"Bearer {key}")

    assert reply.status in {302, 404, 405, 413}
    assert b"published" not in reply.body


def test_gateway_leads_to_the_page_when_nothing_is_asked(stack: Stack) -> None:
    """Whoever types less still gets there."""
    assert "/todos" == ask(stack, "GET", "/").headers["location"]


@pytest.mark.parametrize("path", ["/todos", "/todos/pomona/firenze.js"])
def test_page_is_checked_again_when_it_is_cached(stack: Stack, path: str) -> None:
    """What keeps its name carries an ETag."""
    page = ask(stack, "GET", path)

    again = ask(stack, "GET", path, If_None_Match=page.headers["etag"])

    assert ("no-cache", 304) == (page.headers["cache-control"], again.status)


def test_asset_is_kept_for_ever_when_its_name_tells_its_content(stack: Stack) -> None:
    """Everything that a page loads has such a name."""
    page = ask(stack, "GET", "/todos").body.decode()
    urls = re.findall(r'<(?:link|script|img)\b[^>]*(?:href|src)="([^"]+)"', page)
    assets = [ask(stack, "GET", url) for url in urls]

    assert len(urls) > 10
    assert {"public, max-age=31536000, immutable"} == {asset.headers["cache-control"] for asset in assets}
    assert {200} == {asset.status for asset in assets}


def test_missing_asset_is_not_kept_when_it_is_asked(stack: Stack) -> None:
    """A gateway that is not as new as the page may have it in a moment."""
    assert "no-store" == ask(stack, "GET", "/todos/assets/todos.000000000000.js").headers["cache-control"]


def test_page_may_do_nothing_else_when_it_is_shown(stack: Stack) -> None:
    """The policy starts from nothing, and allows no inline script or style, no frame and no foreign server."""
    headers = ask(stack, "GET", "/todos").headers
    policy = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))

    assert {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    } == policy
    assert ("DENY", "no-referrer", "same-origin") == (
        headers["x-frame-options"],
        headers["referrer-policy"],
        headers["cross-origin-opener-policy"],
    )


def test_client_is_told_when_to_retry_when_a_service_stays_down(background: LoopThread, stack: Stack) -> None:
    """After five seconds without a service the gateway answers for it, with Retry-After."""
    process = stack.part("tasks").process
    background.run(process.stop())
    try:
        reply = ask(stack, "GET", "/tasks")
    finally:
        background.run(process.start())
        background.run(stack.wait_ready())

    assert (503, PROBLEM, "1") == (reply.status, reply.headers["content-type"], reply.headers["retry-after"])


@pytest.fixture
async def second_stack(tmp_path: Path) -> AsyncIterator[Stack]:
    """Yield a stack that a test may stop."""
    stack = Stack(StackConfig(home=tmp_path))
    await stack.start()
    yield stack
    await stack.stop()


async def test_nothing_is_left_when_the_stack_stops(
    tmp_path: Path,
    second_stack: Stack,
    family: Callable[[int], set[int]],
    wait_until_gone: Callable[[set[int]], set[int]],
) -> None:
    """Every process ends with the stack, also Postgres's own, and stack.json with them; the state stays."""
    pids = {pid for process in second_stack.processes.values() if process.pid for pid in family(process.pid)}

    await second_stack.stop()

    assert set() == wait_until_gone(pids)
    assert not (tmp_path / "stack.json").exists()
    assert (tmp_path / "postgres" / "data").exists()


async def test_stack_stops_in_time_when_a_process_hangs(second_stack: Stack) -> None:
    """A process that is frozen, and so deaf to SIGTERM, does not hold up the rest."""
    await faults.kill(second_stack, "longpoll-1", signal.SIGSTOP)

    async with within(10):
        await second_stack.stop()
