"""The applications of docs/guide, each run as it is printed, behind the gateway."""

import http.cookiejar
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import pytest
from tests.testkit.application import READY_SECONDS, gateway_to
from tests.testkit.background import LoopThread
from tests.testkit.deadlines import stretched, wait_until

from roots_devstack.keys import Keys
from roots_devstack.processes import ports
from roots_devstack.stack import Stack

ROOT = Path(__file__).parents[2]
SERVERS = {
    "fastapi": "uvicorn app:app --port {port}",
    "flask": "flask --app app run --port {port}",
    "falcon": "waitress --listen 127.0.0.1:{port} app:app",
}


@dataclass(frozen=True, slots=True)
class Browser:
    """One person's browser, with cookies of its own. Shape: url is the gateway's."""

    url: str
    opener: OpenerDirector = field(
        default_factory=lambda: build_opener(HTTPCookieProcessor(http.cookiejar.CookieJar()))
    )

    def ask(self, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request, a POST with a body; return what is answered, or the status of a refusal."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(  # noqa: S310  # our own address
            f"{self.url}{path}", data, {"Content-Type": "application/json", **headers}
        )
        try:
            with self.opener.open(request, timeout=stretched(READY_SECONDS)) as answer:
                content = answer.read()
        except HTTPError as error:
            with error:
                return error.code
        return json.loads(content) if content.startswith((b"{", b"[")) else content.decode()

    def poll(self, cursor: str) -> tuple[list[tuple[str, str]], str]:
        """Return what a poll brings, and the next cursor."""
        answer = self.ask(f"/comet/{cursor}")
        return [(update["path"], update["message"]) for update in answer["updates"]], answer["reconnectWith"]


@pytest.fixture(scope="module", params=SERVERS)
def url(
    request: pytest.FixtureRequest,
    stack: Stack,
    home: Path,
    background: LoopThread,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Yield where a gateway is that has an application of the guide behind it."""
    folder, port = tmp_path_factory.mktemp(request.param), ports.reserve()
    document = (ROOT / f"docs/guide/{request.param}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```$", document)
    (folder / "app.py").write_text(code, encoding="utf-8")
    env = {
        "PATH": os.environ["PATH"],
        "POMONA": str(ROOT / "clients/pomona/src"),
        "SECRET_KEY": "change-me",
        "ROOTS_BACKEND_API_URL": str(stack.processes["subscriptions"].backend_api_url),
        "ROOTS_BACKEND_API_KEY": Keys(home / "secrets").get("backend-todos"),
    }
    command = [sys.executable, "-m", *SERVERS[request.param].format(port=port).split()]
    with ExitStack() as ends, (folder / "log").open("wb") as log:
        application = ends.enter_context(
            subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
        )
        ends.callback(application.kill)
        gateway_url = ends.enter_context(gateway_to(f"{ports.HOST}:{port}", stack, folder, background))
        browser = Browser(gateway_url)
        wait_until(lambda: isinstance(browser.ask("/notes"), list), seconds=READY_SECONDS)
        yield gateway_url


def test_guide_shows_changes_to_those_who_may_receive_them(url: str) -> None:
    """I5: notes for everyone, a list for one user, and nothing for the next user of the same browser."""
    anns, cursor = Browser(url), Browser(url).ask("/comet/")["reconnectWith"]
    uid = cursor.partition("/")[0]
    assert anns.ask("/login", {"name": "Ann"}) != 403
    connected = anns.ask(f"/push/connect/{uid}", ["notes", "users/Ann", "users/Bob"])
    assert connected == {
        "connected": ["notes", "users/Ann"],
        "refused": [{"path": "users/Bob", "reason": "policy"}],
    }
    confirmed, cursor = anns.poll(cursor)
    assert confirmed == [("notes", ""), ("users/Ann", "")]

    note = Browser(url).ask("/notes", {"text": "Water the plants"})
    assert note in anns.ask("/notes")
    received, cursor = anns.poll(cursor)
    assert [(path, json.loads(message)) for path, message in received] == [("notes", note)]

    anns.ask("/login", {"name": "Bob"})
    assert anns.ask(f"/push/connect/{uid}", ["users/Bob"]) == 403


def test_guide_refuses_what_a_page_may_not_ask(url: str) -> None:
    """A page of another site, paths that nobody may have, and a uid that is none."""
    browser = Browser(url)
    uid = browser.ask("/comet/")["reconnectWith"].partition("/")[0]
    assert browser.ask(f"/push/connect/{uid}", ["notes"], **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert browser.ask(f"/push/connect/{uid}", ["users/Ann"]) == 403
    assert browser.ask("/push/connect/unknown", ["notes"]) == 410


def test_guide_serves_pomona(url: str) -> None:
    """The page imports it from the application's own origin."""
    assert "export" in Browser(url).ask("/pomona/firenze.js")
