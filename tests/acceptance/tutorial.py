"""The README's curl tutorial: its steps read from the document, and typed as somebody does who follows them."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
from tests.testkit.deadlines import stretched

ADDRESS = "localhost:4020"
"""Where the README has Roots."""

_ANSWER_SECONDS = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command, and the answer that the document shows below it; None when it shows none there."""

    command: str
    shown: str | None


def steps(block: str) -> list[Step]:
    """Return the commands of a tutorial's block, each with the line of JSON that is shown below it, if one is."""
    lines = [line for line in block.splitlines() if line.startswith(("curl ", "# {"))]
    return [
        Step(command=line, shown=below.removeprefix("# ") if below.startswith("# ") else None)
        for line, below in pairwise([*lines, ""])
        if line.startswith("curl ")
    ]


@dataclass(slots=True, kw_only=True)
class Typist:
    """Types the steps, and puts in what earlier answers have said.

    A poll without an answer below it waits, as the document says of it; the answer shown next is the waiting poll's.
    """

    address: str
    env: Mapping[str, str]
    answers: dict[str, str] = field(default_factory=dict)
    _waiting: "subprocess.Popen[str] | None" = None

    def type(self, step: Step) -> None:
        """Type one command and compare the answer. Errors: AssertionError when it is not as the document shows it."""
        process = self._start(step.command)
        if step.shown is None and "/comet/" in step.command:
            self._waiting = process
            return
        answer = self._finish(process)
        if self._waiting is not None:
            assert step.shown is not None
            answer, self._waiting = self._finish(self._waiting), None
        self._learn(answer)
        if step.shown is not None:
            assert re.fullmatch(self._expected(step.shown), answer), f"{step.shown}\n{answer}"

    def _start(self, command: str) -> "subprocess.Popen[str]":
        command = command.replace(ADDRESS, self.address)
        for name, value in self.answers.items():
            command = command.replace(name, value)
        return subprocess.Popen(
            ["/bin/bash", "-c", command], env=dict(self.env), stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def _finish(self, process: "subprocess.Popen[str]") -> str:
        answer, _ = process.communicate(timeout=stretched(_ANSWER_SECONDS))
        assert 0 == process.returncode
        return answer

    def _learn(self, answer: str) -> None:
        if '"reconnectWith"' in answer:
            cursor = msgspec.json.decode(answer, type=dict[str, object])["reconnectWith"]
            assert isinstance(cursor, str)
            self.answers |= {"RECONNECT_WITH": cursor, "UID": cursor.partition("/")[0]}
        if found := re.search(r'\\"guid\\":\\"(/task/\d+)\\"', answer):
            self.answers["/task/1"] = found[1]

    def _expected(self, shown: str) -> str:
        """Return what an answer has to match: `…` stands for anything, and cursors and guids are the newcomer's own."""
        shown = re.sub(r'"reconnectWith":"[^"]*"', '"reconnectWith":"…"', shown)
        for name, value in self.answers.items():
            shown = shown.replace(name, value)
        return ".*".join(re.escape(part) for part in shown.split("…"))
