"""The shell blocks of the documents: what a reader types, and which test types it.

A block that no test can run has `<!-- not run: REASON -->` on the line before its fence. The tests of RUN_BY take all
others by `commands` and unpack them, so a block that is added to a document fails its test until that runs it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELLS = frozenset({"sh", "bash", "shell", "zsh", "console"})
RUN_BY = {
    "README.md": "tests/acceptance/test_readme.py",
    "clients/cornelius/README.md": "tests/packaging/test_cornelius_readme.py",
    "clients/pomona/README.md": "tests/packaging/test_pomona_readme.py",
    "examples/chat/README.md": "tests/e2e/test_chat_example.py",
    "examples/django-todos/README.md": "tests/e2e/test_django_example.py",
}
"""The test that runs a document's blocks, each of which it takes by `commands("NAME OF THE DOCUMENT")`."""

# What other parts of a document tell needs Docker or a cluster.
SECTIONS = {"docs/operations.md": "## make run"}

_FENCE = re.compile(r"\s*(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w-]*)")
_NOT_RUN = re.compile(r"\s*<!-- not run: (?P<reason>\S.*\S) -->\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block. `reason` says why nobody runs it; None when a test does."""

    document: str
    line: int
    language: str
    text: str
    reason: str | None


def documents() -> list[str]:
    """Return the documents that give a newcomer's first commands, relative to the repository's root."""
    paths = [
        ROOT / "README.md",
        *ROOT.glob("clients/*/README.md"),
        *ROOT.glob("examples/*/README.md"),
        ROOT / "docs/operations.md",
    ]
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def blocks(document: str) -> list[Block]:
    """Return every fenced block of a document, or of its section in SECTIONS, in their order."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    fence, language, start = "", "", 0
    section = ""
    for number, line in enumerate(lines):
        match = _FENCE.match(line)
        if not fence:
            if line.startswith("## "):
                section = line
            if match:
                fence, language, start = match["fence"], match["language"], number
        elif line.strip() == fence:
            if section == SECTIONS.get(document, section):
                marked = _NOT_RUN.fullmatch(lines[start - 1]) if start else None
                found.append(
                    Block(
                        document=document,
                        line=start + 1,
                        language=language,
                        text="\n".join(lines[start + 1 : number]) + "\n",
                        reason=marked["reason"] if marked else None,
                    )
                )
            fence = ""
    assert not fence, f"{document}:{start + 1} opens a block that is never closed"
    return found


def commands(document: str) -> list[str]:
    """Return the texts of a document's shell blocks that a test runs, in their order."""
    return [block.text for block in blocks(document) if block.language in SHELLS and block.reason is None]
