"""What the README says to copy works."""

import re
from pathlib import Path
from typing import Any

import falcon.testing
import pytest

from cornelius import dudley

from .support import GRANTED, READ_REVISION, UID_A, Log, ScriptedServer

README = Path(__file__).parents[1] / "README.md"
BLOCKS: list[str] = re.findall(
    r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
)


def block(part: str) -> str:
    """Return the one block that has `part`."""
    (found,) = [text for text in BLOCKS if part in text]
    return found


@pytest.mark.parametrize("text", BLOCKS)
def test_code_is_python_when_it_is_copied(text: str) -> None:
    """All of it."""
    compile(text, str(README), "exec")


def test_plain_start_publishes_when_it_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Three messages in two requests, and nothing to complain of."""
    log = Log()
    with ScriptedServer([log.publish] * 2) as server:
        dudley.configure(url=server.url)
        exec(block("not published:"), {})  # noqa: S102  # our own text
    assert ["tasks", "tasks", "users/7"] == [path for path, _ in log.stored.values()]
    assert "" == capsys.readouterr().out


@pytest.mark.parametrize(("paths", "status"), [(["tasks", "users/7"], 200), (["users/7"], 403)])
def test_falcon_start_connects_when_a_page_asks(paths: list[str], status: int) -> None:
    """It answers what Pomona expects."""
    names: dict[str, Any] = {"logged_in": lambda _request: "7"}
    exec(block("falcon.App()"), names)  # noqa: S102  # our own text
    with ScriptedServer([READ_REVISION, GRANTED]) as server:
        dudley.configure(url=server.url)
        answer = falcon.testing.TestClient(names["app"]).simulate_post(f"/tasks/connect/{UID_A}", json=paths)
    assert status == answer.status_code
    if status == 200:
        assert {"connected": ["tasks"], "refused": [{"path": "users/7", "reason": "policy"}]} == answer.json
