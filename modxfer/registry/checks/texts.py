"""The rules on texts: what may not be in any of them, whatever their field.

Entries are shown in terminals, on web pages, in markdown and in spreadsheets of other people. Whoever shows a text escapes it;
these rules keep what would need that out in the first place.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from modxfer.registry.entries.fields import shown
from modxfer.registry.entries.problems import Place, Problem
from modxfer.registry.entries.reading import ReadFile
from modxfer.registry.entries.yaml_text import Keys

_BLANKS = frozenset(
    map(
        chr,
        [
            *(0x2028, 0x2029),  # line breaks that YAML and browsers see, and people do not
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0),
            *range(0x180B, 0x1810),
            *range(0xFE00, 0xFE0F),  # 0xFE0F is in every other emoji
            *range(0xE0100, 0xE01F0),
        ],
    )
)
"""Characters that nobody can see, though Unicode counts them among letters, marks and separators."""

_UNSEEN = ("Cc", "Cf", "Co", "Cs")
_MARKUP = re.compile(
    r"<[A-Za-z/!?]"  # a tag, a comment, an automatic link
    r"|&(?:\#[0-9]|\#[xX][0-9A-Fa-f]|[A-Za-z][A-Za-z0-9]*;)"  # a character reference
    r"|\][(\[]"  # a link or an image
    r"|^\ {0,3}\[[^\]\n]+\]:",  # where one leads to
    re.MULTILINE | re.VERBOSE,
)
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
                   "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
_SUSPECT = re.compile(rf"^ *[{re.escape(''.join(_STARTS_FORMULA))}]|[<&\]]", re.MULTILINE)
_BIBTEX = re.compile(r"@[A-Za-z]+ ?\{")
_MOST_SHOWN = 5


def check_texts(read: ReadFile) -> Iterator[Problem]:
    """Look at all texts of a file: values, keys, unknown fields too, and what is between them.

    Args:
        read: The file.

    Yields:
        Its problems.
    """
    text = read.document.text
    if text is None:
        return
    found: list[str] = []
    _collect(read.document.value, found)
    joined = "\n".join(found)
    if _is_plain(text) and _is_plain(joined) and not _SUSPECT.search(joined):
        return
    raw = list(_raw_characters(text))
    for place, char in raw:
        yield Problem(rule="control-characters", path=read.path, place=place, what=_unseen(char), do="Take it out.")
    known = {char for _, char in raw}
    for keys, value, is_key in _walk(read.document.value):
        yield from _check_text(read, keys, value, is_key=is_key, known=known)


def is_unseen(char: str) -> bool:
    """Say whether a character is a control, format or private one, or cannot be seen for another reason.

    Args:
        char: One character.

    Returns:
        Whether no text of an entry may have it; line feeds are to be left out before.
    """
    return char in _BLANKS or unicodedata.category(char) in _UNSEEN or 0xFDD0 <= ord(char) <= 0xFDEF


def _collect(value: Any, found: list[str]) -> None:
    """Gather all texts; the depth is limited by the reader."""
    if value.__class__ is str:
        found.append(value)
    elif value.__class__ is dict:
        found.extend(value)
        for item in value.values():
            _collect(item, found)
    elif value.__class__ is list:
        for item in value:
            _collect(item, found)


def _walk(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, str, bool]]:
    """List all texts with the way to them, and whether they are keys."""
    if isinstance(value, str):
        yield keys, value, False
    elif isinstance(value, dict):
        for key, item in value.items():
            yield (*keys, key), key, True
            yield from _walk(item, (*keys, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, (*keys, index))


def _is_plain(text: str) -> bool:
    """Say quickly whether a text is sure to have no character that cannot be seen."""
    return text.replace("\n", "").isprintable() and (text.isascii() or not _BLANKS & set(text))


def _raw_characters(text: str) -> Iterator[tuple[Place, str]]:
    """List what cannot be seen in a file as it is, comments too. Tabs and line ends are another rule's."""
    if _is_plain(text):
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not _is_plain(line):
            for column, char in enumerate(line.removesuffix("\r"), start=1):
                if char != "\t" and is_unseen(char):
                    yield Place(line=number, column=column), char


def _check_text(read: ReadFile, keys: Keys, text: str, *, is_key: bool, known: set[str]) -> Iterator[Problem]:
    name = shown(".".join(str(key) for key in keys))
    unseen = next((char for char in text if char != "\n" and char not in known and is_unseen(char)), None)
    if unseen is not None:
        yield read.problem("control-characters", keys, f"{name}: {_unseen(unseen)}", do="Take it out.", at_key=is_key)
    mark = _first_markup(text)
    if mark is not None:
        what = f"{name} has {shown(mark)}, which a reader's page would show as markup."
        yield read.problem("markup", keys, what, do="Write plain text.", at_key=is_key)
    if _is_formula(text):
        what = f"{name} is {shown(text)}, which a spreadsheet would run as a formula."
        yield read.problem("formula", keys, what, do="Begin with a word.", at_key=is_key)


def _first_markup(text: str) -> str | None:
    for match in _MARKUP.finditer(text):
        mark = match[0]
        if not mark.startswith("&") or html.unescape(mark) != mark:
            return text[match.start() : match.start() + 20]
    return None


def _is_formula(text: str) -> bool:
    """Say whether a spreadsheet may take a text for a formula; a list of points, each with its dash, and BibTeX it does not."""
    start = text.lstrip(" ")
    is_list = start.startswith("- ") and "\n" in text.strip()
    return start.startswith(_STARTS_FORMULA) and not is_list and not _BIBTEX.match(start)


def _unseen(char: str) -> str:
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X}{f' ({name.lower()})' if name else ''} cannot be seen."
