"""Texts from outside on a model card: nothing in them may become markdown, HTML, a link, a table cell or YAML.

Outside text appears in one of two ways: in a code span, where only the backtick means anything, or as text in which every
mark that could mean something is written as a character reference. A word that a renderer would turn into a link by itself
(a URL, an address, a mention) goes into a code span as well: renderers look for those after the references are resolved.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

TEXT_LIMIT = 2000
CODE_LIMIT = 200
"""Characters of one outside text that a card shows at most."""

_MARKS = re.compile(r"[\\`*_{}\[\]<>#|~$^&=]")
_FIRST_MARK = re.compile(r"[-+]|(?<=\d)[.)]")
_STARTS_A_BLOCK = re.compile(r"[-+]|\d+[.)](\s|$)")
_LINKED_BY_ITSELF = re.compile(r"[@#]|//|:(?=\S)|www\.|\S\.[^\W\d_]{2}", re.IGNORECASE)
_IN_BACKTICKS = re.compile(r"`([^`]*[^`\s][^`]*)`")  # not what is empty: taking it out would join what is around it
_AROUND_A_WORD = re.compile(r"(\(*)(.+?)([),.;:!?]*)")
_HUB_ID = re.compile(r"(?!.*(--|\.\.|\.git$))(\w([\w.-]{0,94}\w)?/)?\w([\w.-]{0,94}\w)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PLAIN_NAME = re.compile(r"\w[\w.-]{0,95}", re.ASCII)


def one_line(text: object, *, limit: int = TEXT_LIMIT) -> str:
    """Bring a text from outside onto one line, without characters that cannot be seen.

    Args:
        text: Anything; what is no text is written as one.
        limit: Characters to keep at most.

    Returns:
        The text without control, format (bidirectional marks, zero widths) and private characters, its white space collapsed,
        cut with an ellipsis.
    """
    seen = (" " if char.isspace() else char for char in str(text) if char.isspace() or unicodedata.category(char)[0] != "C")
    line = " ".join("".join(seen).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def code(text: object, *, limit: int = CODE_LIMIT) -> str:
    """Make a text from outside harmless between two backticks, in tables too.

    Args:
        text: Any text.
        limit: Characters to keep at most.

    Returns:
        The text on one line and never empty, with stand-ins for backticks and for bars.
    """
    return one_line(text, limit=limit).replace("`", "'").replace("|", "¦") or "?"


def span(text: object) -> str:
    """Show a text from outside as code.

    Args:
        text: Any text.

    Returns:
        A code span.
    """
    return f"`{code(text)}`"


def escape(text: object) -> str:
    """Make a text from outside harmless in markdown, HTML and tables, wherever on a line it stands.

    Args:
        text: Any text.

    Returns:
        The text on one line. What it has in backticks is a code span, and so is every word that would become a link by itself;
        all other marks of markdown are character references.
    """
    shown = ""
    for index, part in enumerate(_IN_BACKTICKS.split(one_line(text))):
        piece = span(part) if index % 2 else re.sub(r"\S+", _word, part)
        shown += f" {piece}" if shown.endswith("`") and piece.startswith("`") else piece
    shown = shown.strip()
    return _FIRST_MARK.sub(_reference, shown, count=1) if _STARTS_A_BLOCK.match(shown) else shown


def is_hub_id(name: object) -> bool:
    """Say whether a name could be a repository on the Hub.

    Args:
        name: Anything.

    Returns:
        Whether it keeps the rules that both versions of `huggingface_hub` check, and is ASCII, which only the newer one checks.
    """
    return isinstance(name, str) and _HUB_ID.fullmatch(name) is not None


def is_on_hub(name: object, revision: object) -> bool:
    """Say whether a name stands for a repository on the Hub at one commit; folders have no commit.

    Args:
        name: Anything.
        revision: Anything.

    Returns:
        Whether the name is a Hub id and the revision a commit hash.
    """
    return is_hub_id(name) and isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None


def hub_url(name: str, *, revision: str | None = None) -> str:
    """Give the address of a repository's page.

    Args:
        name: Its Hub id, checked.
        revision: The commit to show; None for what is newest.

    Returns:
        The address on the Hub that is in use; never with the user name or password that its setting may hold.
    """
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    host = parts.netloc.rpartition("@")[2]
    root = quote(f"{parts.scheme}://{host}{parts.path}", safe=":/[]")
    return f"{root}/{name}/tree/{revision}" if revision else f"{root}/{name}"


def linked(name: object, revision: object) -> str:
    """Show a repository's id with a link to the commit that was used, or a folder's name.

    Args:
        name: Hub id or folder name.
        revision: Commit hash; None for a folder.

    Returns:
        Markdown.
    """
    return f"[`{name}`]({hub_url(str(name), revision=str(revision))})" if is_on_hub(name, revision) else span(name)


def named(name: object, revision: object) -> str:
    """Show a repository as `linked` does, with the commit in words.

    Args:
        name: Hub id or folder name.
        revision: Commit hash; None for a folder.

    Returns:
        Markdown.
    """
    return f"{linked(name, revision)} at revision {span(revision)}" if revision else span(name)


def folder_name(name: object, *, otherwise: str) -> str:
    """Give a folder's name if it can stand in a path as it is.

    Args:
        name: Anything.
        otherwise: What to give if it cannot.

    Returns:
        ASCII letters, digits, dots, dashes and underscores.
    """
    return name if isinstance(name, str) and _PLAIN_NAME.fullmatch(name) else otherwise


def literal(text: str) -> str:
    """Write a text as a Python string.

    Args:
        text: The text; its caller has checked that it is plain ASCII.

    Returns:
        The literal, in double quotes.
    """
    return json.dumps(text)


def number(value: object, digits: int = 3) -> str:
    """Write a measured number.

    Args:
        value: Anything.
        digits: Digits after the point; whole numbers have none.

    Returns:
        The number; a dash for what is none, or is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table.

    Args:
        titles: The titles of its columns.
        rows: Its cells; outside text in them has been through `escape`, `code` or `span`.

    Returns:
        Its lines.
    """
    return [_row(titles), _row(["---"] * len(titles)), *(_row(row) for row in rows)]


def bullets(sentences: Iterable[object]) -> list[str]:
    """List sentences from outside.

    Args:
        sentences: Any texts.

    Returns:
        The lines of a list.
    """
    return [f"* {escape(sentence) or '–'}" for sentence in sentences]


def mapping(value: object) -> Mapping[str, Any]:
    """Take a part of a record that should be a mapping.

    Args:
        value: Anything: a record may have been written by anyone.

    Returns:
        The mapping; an empty one for anything else.
    """
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> list[Any]:
    """Take a part of a record that should be a list.

    Args:
        value: Anything.

    Returns:
        Its items; none for anything else.
    """
    return list(value) if isinstance(value, (list, tuple)) else []


def python_blocks(card: str) -> list[str]:
    """Take the Python out of a card.

    Args:
        card: A card that this package wrote.

    Returns:
        What stands in its Python blocks, in order.
    """
    return re.findall(r"^```python\n(.*?)^```$", card, flags=re.DOTALL | re.MULTILINE)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _word(match: re.Match[str]) -> str:
    around = _AROUND_A_WORD.fullmatch(match[0])
    if around is None or not _LINKED_BY_ITSELF.search(match[0]):
        return _MARKS.sub(_reference, match[0])
    return f"{around[1]}{span(around[2])}{around[3]}"


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"
