"""No test fails because the machine is busy: what waits has a deadline that allows for it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# These measure the system by hand, too, against figures that hold on a quiet machine.
MEASURING = {"chaos", "containers.py", "pictures.py"}


def test_waits_allow_for_a_busy_machine_when_they_have_a_deadline() -> None:
    """A timeout in seconds is `stretched`, and a limit of speed is on the clock of tests.testkit.deadlines."""
    wrong = [f"{path.relative_to(ROOT)}:{line}" for path in _files() for line in _unstretched(path)]
    assert [] == wrong


def _files() -> list[Path]:
    found = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("*/*/tests/**/*.py")]
    return [path for path in found if not MEASURING & {path.name, path.parent.name}]


def _unstretched(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "timeout" and _is_seconds(node.value):
            yield node.value.lineno
        if isinstance(node, ast.Assert) and _limits_speed(node.test):
            yield node.lineno


def _is_seconds(value: ast.expr) -> bool:
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float) and value.value > 1
    return isinstance(value, ast.Name) and value.id.isupper()


def _limits_speed(test: ast.expr) -> bool:
    """Tell whether it is `time.monotonic() - began < limit`, or has that in a chain."""
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[-1], ast.Lt | ast.LtE):
        return False
    smaller = [test.left, *test.comparators[:-1]]
    return any(isinstance(one, ast.BinOp) and "time.monotonic()" in ast.unparse(one) for one in smaller)
