"""Plain text out of a card: what an entry may say of it, without markdown, HTML and what cannot be seen."""

import html
import re
from collections.abc import Iterator

from modxfer.registry.card_text import one_line
from modxfer.registry.checks.texts import is_unseen
from modxfer.registry.entries.fields import LONGEST_LINE

LONGEST_DESCRIPTION = 1000
"""Characters of a card's first paragraph that an entry repeats."""

_LONGEST_CARD, _LONGEST_PIECE = 100_000, 4_000  # characters that are looked at: what an entry repeats stands at the start
_COMMENT = re.compile(r"<!--.*?(-->|\Z)", re.DOTALL)
_FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?(^ {0,3}\1|\Z)", re.DOTALL | re.MULTILINE)
_HEAD = re.compile(r"\A\ufeff?---[ \t]*\r?\n.*?^---[ \t]*$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_NO_TEXT = re.compile(r" {4}|\t| {0,3}([-+*>|<]|\d+[.)]\s|\[[^\]]+\]:|!\[|\[!)")
"""How lines begin that are code, lists, quotes, tables, HTML, references or images."""

_STEPS = (
    (re.compile(r"<(https?://[^<>\s]+)>"), r"\1"),
    (re.compile(r"</?[A-Za-z!?][^<>]*>"), ""),
    (re.compile(r"!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])"), ""),
    (re.compile(r"\[([^\]]*)\](\([^)]*\)|\[[^\]]*\])"), r"\1"),
    (re.compile(r"\*+|~~|`+|\b__|__\b"), ""),
    (re.compile(r"(?<!\w)_([^_]+)_(?!\w)"), r"\1"),
    (re.compile(r"\\(?=[^\w\s])"), ""),
    (re.compile(r"<(?=[A-Za-z/!?])|(?<=\])(?=[(\[])|&(?=#|\w+;)|^\s*(?=\[[^\]]+\]:)\["), " "),  # what only now looks like it
)
_FORMULA = "=+-@\t \uff1d\uff0b\uff0d\uff20"
_TEMPLATES = re.compile(
    r"model card( for)?( \[?model (id|name)\]?)?|\[?more information needed\]?|\[?model name\]?|readme|model description|"
    r"model details|.*should probably proofread and complete it.*",
    re.IGNORECASE,
)
"""What templates of cards say where nobody filled them in."""


def plain(text: str, *, limit: int = LONGEST_LINE) -> str:
    """Take the words out of a piece of markdown.

    Args:
        text: Markdown from outside.
        limit: Characters to keep at most.

    Returns:
        One line of plain text that no spreadsheet takes for a formula; empty if there are no words but those of a template.
    """
    found = _COMMENT.sub(" ", html.unescape(text[:_LONGEST_PIECE]))
    for pattern, instead in _STEPS:
        found = pattern.sub(instead, found)
    line = one_line("".join(char for char in found if char.isspace() or not is_unseen(char)), limit=limit).lstrip(_FORMULA)
    return line if re.search(r"\w", line) and not _TEMPLATES.fullmatch(line.rstrip(".:")) else ""


def is_plain(text: str) -> bool:
    """Say whether a text can be repeated as it is.

    Args:
        text: A text from outside.

    Returns:
        Whether there is nothing in it but plain text on one line.
    """
    return plain(text, limit=max(LONGEST_LINE, len(text))) == text


def first_heading(card: str) -> str:
    """Find what a card calls itself.

    Args:
        card: The card.

    Returns:
        Its first heading as plain text; empty if it has none but those of a template.
    """
    headings = (plain(text) for kind, text in _blocks(card) if kind == "heading")
    return next((text for text in headings if text), "")


def first_paragraph(card: str) -> str:
    """Find what a card says first.

    Args:
        card: The card.

    Returns:
        Its first paragraph as plain text on one line; empty if it has none.
    """
    paragraphs = (plain(text, limit=LONGEST_DESCRIPTION) for kind, text in _blocks(card) if kind == "paragraph")
    return next((text for text in paragraphs if text), "")


def _blocks(card: str) -> Iterator[tuple[str, str]]:
    """Give the headings and paragraphs of a card, in order; what is something else is left out."""
    body = _FENCE.sub("\n", _COMMENT.sub("\n", _HEAD.sub("", card, count=1)[:_LONGEST_CARD]))
    lines: list[str] = []
    for line in [*body.splitlines(), ""]:
        heading = _HEADING.fullmatch(line)
        if lines and _UNDERLINE.fullmatch(line):
            yield "heading", " ".join(lines)
            lines = []
        elif line.strip() and heading is None:
            lines.append(line)
        else:
            yield from _paragraph(lines)
            lines = []
            if heading is not None:
                yield "heading", heading[1]


def _paragraph(lines: list[str]) -> Iterator[tuple[str, str]]:
    if lines and not _NO_TEXT.match(lines[0]) and not any(line.lstrip().startswith("|") for line in lines):
        yield "paragraph", " ".join(lines)
