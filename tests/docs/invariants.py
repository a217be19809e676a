"""Which tests show which invariant: read from the tests' docstrings, and written into docs/protocol.md.

`python -m tests.docs.invariants` brings the document up to date; a test fails when it is not.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "protocol.md"
INVARIANTS = range(1, 12)
# These test the checker of the chaos runs, with histories made by hand.
NOT_OF_ROOTS = "tests/chaos/test_checker.py"
BEGIN = "<!-- invariants: written by python -m tests.docs.invariants -->\n"
END = "<!-- end of invariants -->\n"

_NAME = re.compile(r"\bI(\d+)\b")


def shown() -> Iterator[tuple[int, str, str]]:
    """Yield the number of an invariant, a test's file and its name, for every test whose docstring names one."""
    files = {*ROOT.glob("*/*/tests/**/test_*.py"), *ROOT.glob("tests/**/test_*.py")} - {ROOT / NOT_OF_ROOTS}
    for file in sorted(files):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for number in _NAME.findall(ast.get_docstring(node) or ""):
                    yield int(number), str(file.relative_to(ROOT)), node.name


def section() -> str:
    """Return the part of the document that lists the tests."""
    by_number: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for number, file, name in shown():
        if name not in by_number[number][file]:
            by_number[number][file].append(name)
    lines = [BEGIN]
    for number in INVARIANTS:
        lines.append(f"\n**I{number}**\n\n")
        for file, names in by_number[number].items():
            quoted = ", ".join(f"`{name.removeprefix('test_')}`" for name in sorted(names))
            lines.append(f"- [{file}](../{file}): {quoted}\n")
    lines.append(END)
    return "".join(lines)


def updated(document: str) -> str:
    """Return `document` with its list of tests as it should be."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + section() + after


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
