"""Each shell block of the documents is run by a test, or says why no test can run it."""

import pytest

from .commands import ROOT, RUN_BY, SHELLS, Block, blocks, commands, documents

BLOCKS = [block for document in documents() for block in blocks(document)]


def place(block: Block) -> str:
    """Return where a block is."""
    return f"{block.document}:{block.line}"


@pytest.mark.parametrize("document", documents())
def test_shell_blocks_are_run_when_a_document_gives_them(document: str) -> None:
    """The test that RUN_BY names takes the document's blocks; a document without blocks to run has no test there."""
    if commands(document):
        test = ROOT / RUN_BY[document]
        assert f'commands("{document}")' in test.read_text(encoding="utf-8")
    else:
        assert document not in RUN_BY


def test_block_names_its_language_when_it_is_fenced() -> None:
    """A block without a language may be a shell's, and would be run by nobody."""
    assert [] == [place(block) for block in BLOCKS if not block.language]


def test_reason_belongs_to_a_shell_block_when_it_is_given() -> None:
    """`not run` before a block that is no shell's would promise that the others are run."""
    assert [] == [place(block) for block in BLOCKS if block.reason is not None and block.language not in SHELLS]
