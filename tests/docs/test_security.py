"""The tests that SECURITY.md names are there."""

import ast
import re

from .invariants import ROOT

DOCUMENT = ROOT / "SECURITY.md"
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def names_in(file: str) -> set[str]:
    """Return the names of the tests in a file of the repository, none when it isn't there."""
    path = ROOT / file
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else ()
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in functions if node.name.startswith("test_")}


def test_named_tests_exist_when_the_threat_model_names_them() -> None:
    """A threat whose test was renamed or removed is shown by nothing."""
    named = _TEST.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert [] == [f"{file}::{name}" for file, name in named if name not in names_in(file)]


def test_every_threat_names_a_test_when_it_has_an_answer() -> None:
    """A row of the table without a test would be a promise."""
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Threats\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert [] == [row for row in rows if not _TEST.search(row)]
    assert 20 <= len(rows)
