"""A card that a user wrote or changed: read, and given a licence and tags. Everything else in it stays byte for byte."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modxfer.alignments.files import hash_file
from modxfer.converters.formats.files import text_loader
from modxfer.converters.formats.needed import CARD
from modxfer.errors import FormatError

_HEAD = re.compile(r"\A---[ \t]*(?:\r?\n)(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_MEND = f"Mend `{CARD}`, or remove it to have one written."


FORMER_CARD = "former_card"
"""Key of a record: the hash of the card that was beside it before the newest one."""


def card_path(folder: Path) -> Path | None:
    """Find the card of a folder that is to be published.

    Args:
        folder: The folder.

    Returns:
        The card; None if there is none.

    Raises:
        FormatError: it is a link, which may lead to anything on this machine, or no file.
    """
    path = folder / CARD
    if path.is_symlink() or (path.exists() and not path.is_file()):
        what = "a link, and what it leads to would be published" if path.is_symlink() else "no file"
        raise FormatError(f"`{path}` is {what}.", do="Put a file in its place, or remove it to have one written.")
    return path if path.is_file() else None


def is_own_card(path: Path, record: Mapping[str, Any]) -> bool:
    """Say whether a user wrote or changed the card of a module.

    Args:
        path: The card.
        record: What `transfer.json` beside it holds: hashes of the card that modxfer wrote, and of the one that it was about to
            replace when the record was written.

    Returns:
        Whether the card is neither of these.
    """
    return hash_file(path) not in (record["files"].get(CARD), record.get(FORMER_CARD))


def read_card_text(path: Path) -> str:
    """Read a card, line ends as they are.

    Args:
        path: The file.

    Returns:
        Its text.

    Raises:
        FormatError: it is no UTF-8 text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"`{path}` is no UTF-8 text.", do="Save it as UTF-8, or remove it to have one written.") from error


def amend(card: str, *, licence: str, tags: Sequence[str] = ()) -> str:
    """Put a licence and tags into a card's metadata.

    Args:
        card: The card.
        licence: The licence.
        tags: Tags to add, if any.

    Returns:
        The card; only the lines of the licence and the tags are others.

    Raises:
        FormatError: its metadata cannot be read.
    """
    import yaml
    from huggingface_hub import ModelCard

    found = _HEAD.match(card)
    try:
        head = _amend_head(found[1] if found else "", licence=licence, tags=tags)
        amended = f"{card[: found.start(1)]}{head}{card[found.end(1) :]}" if found else f"---\n{head}---\n\n{card}"
        ModelCard(amended)  # it refuses what the Hub would refuse
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise FormatError(
            f"The metadata of the card cannot be read: {' '.join(str(error).split())[:200]}.", do=_MEND
        ) from error
    return amended


def _amend_head(head: str, *, licence: str, tags: Sequence[str]) -> str:
    import yaml

    content = yaml.load(head, Loader=text_loader())
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ValueError("it is no mapping")
    wanted: dict[str, Any] = {"license": licence}
    if tags:
        wanted["tags"] = list(dict.fromkeys([*_own_tags(content.get("tags")), *tags]))
    changed = {key: value for key, value in wanted.items() if content.get(key) != value}
    node = yaml.compose(head, Loader=text_loader())
    if getattr(node, "flow_style", False):  # a head in braces has no lines of its own for each key
        return _write({**content, **changed})
    return _replace_lines(head, node, changed)


def _own_tags(found: object) -> list[str]:
    """List the tags that are there: one may stand there without a list."""
    if found is None:
        return []
    if isinstance(found, dict):
        raise ValueError("its tags are no list")
    return [str(tag) for tag in found] if isinstance(found, list) else [str(found)]


def _replace_lines(head: str, node: Any, changed: Mapping[str, Any]) -> str:
    """Put keys where their lines are, or at the end."""
    lines = re.findall(r"[^\n]*\n", head)
    end = "\r\n" if head.endswith("\r\n") else "\n"
    starts = [(key.start_mark.line, key.value) for key, _ in node.value] if node is not None else []
    new = {key: _write({key: value}).replace("\n", end) for key, value in changed.items()}
    result = lines[: starts[0][0]] if starts else lines
    for index, (start, key) in enumerate(starts):
        stop = starts[index + 1][0] if index + 1 < len(starts) else len(lines)
        own = lines[start:stop]
        if key not in changed:
            result = [*result, *own]
            continue
        after = next((count for count, line in enumerate(reversed(own)) if line.strip() and not line.startswith("#")), 0)
        result = [*result, new.pop(key, ""), *own[len(own) - after :]]  # comments before the next key are not this one's
    return "".join([*result, *new.values()])


def _write(content: Mapping[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000))
