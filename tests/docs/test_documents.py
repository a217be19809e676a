"""What the documents say of the code is true."""

import re
from pathlib import Path

import pytest

from . import poll_states
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


def test_poll_states_are_those_of_the_service_when_its_table_changes() -> None:
    """The diagram in docs/how-a-poll-works.md is current; `python -m tests.docs.poll_states` writes it."""
    document = poll_states.DOCUMENT.read_text(encoding="utf-8")

    assert document == poll_states.updated(document)


def test_functions_exist_when_how_a_poll_works_names_them() -> None:
    """Each `Class.method` and each file of that page is in the service."""
    document = poll_states.DOCUMENT.read_text(encoding="utf-8")
    package = ROOT / "services" / "longpoll" / "src" / "roots_longpoll"
    source = "\n".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py"))
    named = {name for pair in re.findall(r"`(\w+)\.(\w+)`", document) for name in pair if pair[1] != "py"}
    defined = {next(filter(None, found)) for found in re.findall(r"\b(?:class|def) (\w+)|[ .](\w+) = ", source)}

    assert set() == named - defined
    assert [] == [file for file in re.findall(r"`(\w+/\w+\.py)`", document) if not (package / file).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_when_they_name_a_file(document: Path) -> None:
    """A link to a file of the repository finds it."""
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))

    assert [] == [link for link in links if not (document.parent / link).exists()]
