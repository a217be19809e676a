"""Finds prose that is hard to read: long lines, long sentences, and words that stand for a plain term.

Code, tables' widths, link targets and HTML comments are no prose. A code span counts as one word. A colon ends a
sentence, because what follows it is a list or an example.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_LINE_LENGTH = 120
MAX_SENTENCE_WORDS = 25

BANNED_WORDS = {
    "anew": "write 'again' or 'new'",
    "desk": "write 'dispatcher'",
    "door": "write 'back-end API'",
    "hear": "write 'receive' or 'listen'",
    "hears": "write 'receives' or 'listens'",
    "heard": "write 'received'",
    "hearing": "write 'receiving'",
    "house": "write what it is",
    "housekeeping": "write 'maintenance'",
    "knock": "write 'connect'",
    "knocks": "write 'connects'",
    "mend": "write 'fix' or 'correct'",
    "mended": "write 'fixed' or 'corrected'",
    "mends": "write 'fixes' or 'corrects'",
    "tell": "write 'report', 'say' or 'show'",
    "telling": "write 'reporting'",
    "tells": "write 'reports', 'says' or 'shows'",
    "told": "write 'acknowledged', 'informed' or 'configured'",
    "world": "write what is meant",
}
"""Metaphors and vague words, each with what to write instead."""

_BANNED = re.compile(rf"(?<![\w-])(?:{'|'.join(BANNED_WORDS)})(?![\w-])", re.IGNORECASE)
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_HTML_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_LIST_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.)\s+")
_SENTENCE_END = re.compile(r"[.!?:][*_\")\]]*(?:\s+|$)")
_HASH_COMMENT = re.compile(r"(?m)(?:^|\s)#.*$")
_C_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_COMMENTS = {
    ".js": re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL),
    ".css": _C_COMMENT,
    **dict.fromkeys((".yml", ".yaml", ".toml", ".conf", ".cfg", ".sh", ".env"), _HASH_COMMENT),
}
_WORD = re.compile(r"[\w'%+./-]*\w[\w'%+./-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """One paragraph, list item, heading or table cell. `line` is where it starts, from 1."""

    line: int
    text: str


def paragraphs(markdown: str) -> Iterator[Paragraph]:
    """Yield the prose of a Markdown text, without its code, in its order."""
    lines = _without_code(markdown).split("\n")
    start = 0
    parts: list[str] = []
    for number, line in enumerate([*lines, ""], start=1):
        is_row = line.lstrip().startswith("|")
        is_new = not line.strip() or is_row or line.startswith("#") or _LIST_ITEM.match(line) is not None
        if parts and is_new:
            yield Paragraph(line=start, text=" ".join(parts))
            parts = []
        if is_row:
            for cell in line.strip().strip("|").split(" | "):
                yield Paragraph(line=number, text=cell.strip())
        elif line.strip():
            if not parts:
                start = number
            parts.append(_LIST_ITEM.sub("", line).strip().lstrip("> "))


def long_lines(markdown: str) -> list[int]:
    """Return the numbers of lines of prose over MAX_LINE_LENGTH, without tables and lines that can't be broken."""
    found = []
    for number, (line, prose) in enumerate(
        zip(markdown.split("\n"), _without_code(markdown, spans=False).split("\n"), strict=True), start=1
    ):
        is_breakable = " " in line.strip()[:MAX_LINE_LENGTH] and not line.startswith(("|", "![", "#"))
        if len(line) > MAX_LINE_LENGTH and prose.strip() and is_breakable and not _is_one_link(line):
            found.append(number)
    return found


def long_sentences(markdown: str) -> list[tuple[int, int, str]]:
    """Return the line, the number of words and the text of each sentence over MAX_SENTENCE_WORDS."""
    found = []
    for paragraph in paragraphs(markdown):
        for sentence in _SENTENCE_END.split(_LINK.sub(r"\1", paragraph.text)):
            words = len(_WORD.findall(sentence))
            if words > MAX_SENTENCE_WORDS:
                found.append((paragraph.line, words, sentence.strip()))
    return found


def banned_words(text: str) -> list[str]:
    """Return the banned words of a text of prose, in its order."""
    return [match[0].lower() for match in _BANNED.finditer(text)]


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each comment of a source, docstrings included, without code spans."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from comments_and_docstrings(source)
    elif pattern := _COMMENTS.get(path.suffix):
        for match in pattern.finditer(source):
            yield source.count("\n", 0, match.start()) + 1, _CODE_SPAN.sub("code", match[0])


def comments_and_docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each comment and docstring of a Python source, without code spans."""
    starts_statement = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and starts_statement):
            yield token.start[0], _CODE_SPAN.sub("code", token.string)
        if token.type in {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}:
            starts_statement = True
        elif token.type not in {tokenize.NL, tokenize.COMMENT}:
            starts_statement = False


def _without_code(markdown: str, *, spans: bool = True) -> str:
    """Return the text with its code blocks and comments blanked, and each code span as the word `code`."""
    text = _HTML_COMMENT.sub(lambda match: "\n" * match[0].count("\n"), markdown)
    fence = ""
    lines = []
    previous_is_blank = True
    for line in text.split("\n"):
        match = _FENCE.match(line)
        if fence:
            lines.append("")
            if line.strip() == fence:
                fence = ""
        elif match:
            fence = match[1]
            lines.append("")
        elif line.startswith("    ") and previous_is_blank and not _LIST_ITEM.match(line):
            lines.append("")
            continue
        else:
            lines.append(line)
        previous_is_blank = not line.strip()
    text = "\n".join(lines)
    return _CODE_SPAN.sub(lambda match: "code" + "\n" * match[0].count("\n"), text) if spans else text


def _is_one_link(line: str) -> bool:
    return re.fullmatch(r"[-*\s]*!?\[[^\]]*\]\([^)]*\)[.:,]?(?: `[^`]*`.*)?", line.strip()) is not None
