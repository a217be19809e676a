"""The documents, comments and docstrings are plain technical English."""

from pathlib import Path

import pytest

from .prose import (
    BANNED_WORDS,
    MAX_LINE_LENGTH,
    MAX_SENTENCE_WORDS,
    ROOT,
    banned_words,
    comments,
    comments_and_docstrings,
    long_lines,
    long_sentences,
    paragraphs,
)

GENERATED = ("<!-- invariants:", "<!-- end of invariants -->")
"""Names of tests, which others rename."""

DOCUMENTS = sorted(
    {
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("clients/*/README.md"),
        *ROOT.glob("examples/*/README.md"),
        *ROOT.glob("deploy/**/README.md"),
    }
    - {ROOT / "CHANGELOG.md"}
)

PLAIN_SOURCES = (
    "services/longpoll/src",
    "services/subscriptions/src",
    "services/tasks/src",
    "libs/common/src",
    "libs/outbox/src",
    "libs/devstack/src",
    "clients/cornelius/src",
    "clients/pomona/src",
    "web/todos",
    "examples",
    "deploy",
)
"""Folders whose comments and docstrings have no banned word."""
_SKIPPED = {"__pycache__", ".mypy_cache", ".venv", "node_modules", "tests"}


def written(document: Path) -> str:
    """Return the text of a document without its generated part, whose lines stay as blanks."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(GENERATED[0])
    generated, _, after = rest.partition(GENERATED[1])
    return before + "\n" * generated.count("\n") + after if begin else text


def name(path: Path) -> str:
    """Return a document's name in a report."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_lines_fit_when_they_are_prose(document: Path) -> None:
    """No line of prose is longer than MAX_LINE_LENGTH."""
    assert [] == [f"{name(document)}:{line}" for line in long_lines(written(document))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_sentences_are_short_when_they_are_prose(document: Path) -> None:
    """No sentence has more than MAX_SENTENCE_WORDS words."""
    found = long_sentences(written(document))
    assert [] == [f"{name(document)}:{line}: {words} words: {text}" for line, words, text in found]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_words_are_plain_when_they_are_in_a_document(document: Path) -> None:
    """No document has a banned word outside of code."""
    found = [(part.line, word) for part in paragraphs(written(document)) for word in banned_words(part.text)]
    assert [] == [f"{name(document)}:{line}: '{word}': {BANNED_WORDS[word]}" for line, word in found]


@pytest.mark.parametrize("folder", PLAIN_SOURCES)
def test_words_are_plain_when_they_are_in_a_comment(folder: str) -> None:
    """No comment or docstring has a banned word outside of code."""
    files = [path for path in sorted((ROOT / folder).rglob("*.*")) if path.is_file() and not _SKIPPED & set(path.parts)]
    found = [(path, line, word) for path in files for line, text in comments(path) for word in banned_words(text)]
    assert files
    assert [] == [f"{name(path)}:{line}: '{word}': {BANNED_WORDS[word]}" for path, line, word in found]


def test_comments_are_found_when_a_source_has_them(tmp_path: Path) -> None:
    """Comments of each kind of source are read, and its code is not."""
    sources = {
        "a.js": ('const door = "http://door"; // one\n/* two\n */\n', ["// one", "/* two\n */"]),
        "a.yaml": ("door: 'a#b' # one\n# two\n", ["# one", "# two"]),
        "a.css": ("a { color: #fff } /* one */\n", ["/* one */"]),
        "a.svg": ("<!-- one -->\n", []),
    }
    for file, (source, expected) in sources.items():
        (tmp_path / file).write_text(source, encoding="utf-8")
        assert expected == [text.strip() for _, text in comments(tmp_path / file)]


def test_faults_are_found_when_a_text_has_them() -> None:
    """The checks see long lines, long sentences and banned words, and pass over code, tables' widths and links."""
    sentence = "word " * MAX_SENTENCE_WORDS
    line = "a" * (MAX_LINE_LENGTH - 4)

    assert [3] == long_lines(f"one\n\n{line} two three\n")
    assert [] == long_lines(f"```\n{line} two three\n```\n\n| {line} | two |\n\n    {line} two\n")
    assert [(1, MAX_SENTENCE_WORDS + 1, f"{sentence}more")] == long_sentences(f"{sentence}more.")
    assert [] == long_sentences(
        f"{sentence}. {sentence}: `{sentence}`\n\n- {sentence}\n- more\n\n| {sentence} | more |"
    )
    assert ["hears", "door"] == banned_words("It hears the door. A doorbell is not one, nor is test_door.")
    assert [(1, '"""Plain."""'), (4, "# why code")] == list(
        comments_and_docstrings('"""Plain."""\n\nx = "door"\ny = 1  # why `door`\n')
    )
