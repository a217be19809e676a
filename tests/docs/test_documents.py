"""What the documents say of the code is true."""

import re
from pathlib import Path

import pytest

from .invariants import DOCUMENT, INVARIANTS, ROOT, shown, updated

DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("clients/*/README.md"),
        *ROOT.glob("examples/*/README.md"),
    ]
)


def test_protocol_lists_tests_of_each_invariant_when_tests_change() -> None:
    """Every invariant has its tests in docs/protocol.md; `python -m tests.docs.invariants` writes them."""
    document = DOCUMENT.read_text(encoding="utf-8")

    assert set(INVARIANTS) == {number for number, _, _ in shown()}
    assert document == updated(document)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_when_they_name_a_file(document: Path) -> None:
    """A link to a file of the repository finds it."""
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))

    assert [] == [link for link in links if not (document.parent / link).exists()]
