"""Mending what is mechanical in the files of a registry: order of fields, layout, spelling of hashes, licences and languages.

The text itself is edited, at the places where the YAML parser says that a value begins and ends, so that comments, quotes and
everything else that is right stay as they are. Afterwards the file is read again: if anything differs but what was to be
mended, it is left as it was.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

from modxfer.paths import write_aside
from modxfer.registry.checks.layout import Shape, Spelling, is_untidy, out_of_order, shape_of_file
from modxfer.registry.entries.fields import language_fault, licence_fault, shown
from modxfer.registry.entries.folder import Registry
from modxfer.registry.entries.writing import one_line, refuse_links
from modxfer.registry.entries.yaml_text import PARSER, read_yaml

_BOM = "\ufeff"
_SPACES_PER_TAB = 4
_BEFORE_A_KEY = re.compile(r" *(?:- +)*")
_DIGITS = {Spelling.SHA256: re.compile("[0-9a-f]{64}"), Spelling.COMMIT: re.compile("[0-9a-f]{40}")}
_MOST_ROUNDS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that was mended.

    Attributes:
        path: The file, relative to the registry.
        rule: Id of the rule that it broke.
        what: What was done, one sentence.
    """

    path: str
    rule: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A file that was left as it is, though something in it may be mechanical.

    Attributes:
        path: The file, relative to the registry.
        why: Why, one sentence.
    """

    path: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """What was mended in a registry.

    Attributes:
        changes: What was done, in order of the files.
        left: Files that could not be mended.
    """

    changes: tuple[Change, ...]
    left: tuple[Left, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that were changed."""
        return tuple(dict.fromkeys(change.path for change in self.changes))


class _CannotMendError(Exception):
    """A file that has to be left as it is."""


def fix(registry: Registry, paths: Collection[str] | None = None) -> Fixed:
    """Mend what is mechanical in a registry's files.

    Args:
        registry: The registry.
        paths: The files to mend, relative to the registry; None for all.

    Returns:
        What was mended, and which files could not be.

    Raises:
        OSError: a file cannot be read or written.
    """
    changes: list[Change] = []
    left: list[Left] = []
    for file in registry.list_files().files:
        if paths is not None and file.path not in paths:
            continue
        try:
            text, done = fix_text(file.path, (registry.root / file.path).read_bytes())
        except _CannotMendError as error:
            left.append(Left(path=file.path, why=str(error)))
            continue
        if done:
            refuse_links(registry.root, file.path)
            write_aside(registry.root / file.path, text)
            changes += done
    return Fixed(changes=tuple(changes), left=tuple(left))


def fix_text(path: str, content: bytes) -> tuple[str, list[Change]]:
    """Mend what is mechanical in a file.

    Args:
        path: The file, relative to the registry.
        content: What it holds.

    Returns:
        Its new text, and what was done; the old text and nothing if there is nothing to mend.

    Raises:
        _CannotMendError: it is no plain YAML, or mending would change more than it should.
    """
    try:
        original = content.decode("utf-8")
    except UnicodeDecodeError:
        raise _CannotMendError(read_yaml(content).faults[0].what) from None
    text = original.removeprefix(_BOM)
    before = read_yaml(text.encode())
    if before.faults or not isinstance(before.value, dict):
        raise _CannotMendError(before.faults[0].what if before.faults else "It is not a mapping of fields to values.")
    changes = [] if text == original else [Change(path=path, rule="encoding", what="Took out the byte order mark.")]
    if is_untidy(text.encode()):
        text = _tidy(text)
        changes.append(Change(path=path, rule="layout", what="Tidied line ends, spaces and tabs."))
    shape = shape_of_file(path)
    text, mended = _mend(text, shape)
    changes += [Change(path=path, rule=rule, what=what) for rule, what in mended]
    if changes:
        text = text.rstrip("\n") + "\n"  # an empty line between two fields may have come to stand at the end
        after = read_yaml(text.encode())
        if after.faults or _expected(before.value, shape) != _expected(after.value, shape):
            raise _CannotMendError("Mending it would change what it says; mend it by hand.")
    return text, changes


def _tidy(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.expandtabs(_SPACES_PER_TAB).rstrip(" ") for line in lines).rstrip("\n") + "\n"


Edit = tuple[int, int, str]
"""From where to where in a text, and what goes there."""


def _mend(text: str, shape: Shape) -> tuple[str, list[tuple[str, str]]]:
    """Mend values, then lists, then orders; each round mends what no other edit of it touches."""
    mended: list[tuple[str, str]] = []
    for kind in (_spelling_edits, _duplicate_edits, _order_edits):
        for _ in range(_MOST_ROUNDS):
            edits: list[Edit] = []
            for rule, what, new in kind(text, _compose(text), shape):
                edits += new
                mended.append((rule, what))
            if not edits:
                break
            for start, end, replacement in sorted(edits, reverse=True):
                text = text[:start] + replacement + text[end:]
    return text, mended


def _compose(text: str) -> Any:
    loader = PARSER(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


Mended = tuple[str, str, list[Edit]]
"""Rule, what is done, and the edits for it."""


def _spelling_edits(text: str, root: Any, shape: Shape) -> Iterator[Mended]:
    for node, spelling, _ in _spelled(root, shape):
        if isinstance(node, yaml.ScalarNode) and node.style in (None, "", "'", '"'):
            right = _respelled(node.value, spelling)
            if right is not None:
                start, end = node.start_mark.index, node.end_mark.index
                rule = {Spelling.LICENCE: "license", Spelling.LANGUAGE: "language"}.get(spelling, "unpinned")
                written = f"{node.style}{right}{node.style}" if node.style else one_line(right, in_flow=True)
                yield rule, f"{shown(node.value)} is now {shown(right)}.", [(start, end, written)]


def _respelled(value: str, spelling: Spelling) -> str | None:
    """Say how a value is spelled rightly; None if it is right already, or cannot be mended by spelling it otherwise."""
    if spelling in _DIGITS:
        right = value.strip().lower().removeprefix("sha256:")
        return right if right != value and _DIGITS[spelling].fullmatch(right) else None
    faults: dict[Spelling, Callable[[str], str | None]] = {Spelling.LICENCE: licence_fault, Spelling.LANGUAGE: language_fault}
    return (faults[spelling](value) or None) if spelling in faults else None


def _duplicate_edits(text: str, root: Any, shape: Shape) -> Iterator[Mended]:
    """Take words that a list has already out of it, unless there is a comment beside them."""
    for node, spelling, name in _spelled(root, shape, lists=True):
        items = node.value
        if spelling not in (Spelling.WORD, Spelling.LANGUAGE) or not all(isinstance(item, yaml.ScalarNode) for item in items):
            continue
        seen: set[str] = set()
        for index, item in enumerate(items):
            if item.value in seen:
                edit = _without_item(text, items, index) if node.flow_style else _without_line(text, item)
                if edit is not None:
                    yield "duplicate-item", f"{shown(item.value)} is in `{name}` once now.", [edit]
            seen.add(item.value)


def _without_item(text: str, items: list[Any], index: int) -> Edit | None:
    start, end = items[index - 1].end_mark.index, items[index].end_mark.index
    return (start, end, "") if re.fullmatch(r"\s*,\s*", text[start : items[index].start_mark.index]) else None


def _without_line(text: str, item: Any) -> Edit | None:
    """Take the line of an item out, if it holds nothing else, such as a comment."""
    start, end = _line_start(text, item.start_mark.index), _line_end(text, item.end_mark.index)
    holds_only = re.fullmatch(r" *- +", text[start : item.start_mark.index]) and not text[item.end_mark.index : end].strip()
    return (start, end, "") if holds_only and "\n" not in text[start : end - 1] else None


def _order_edits(text: str, root: Any, shape: Shape) -> Iterator[Mended]:
    for node, order in _unordered(root, shape):
        edits = _flow_order(text, node, order) if node.flow_style else _block_order(text, node, order)
        if edits:
            yield "key-order", f"Put {_named(node)} in order.", edits


def _unordered(node: Any, shape: Shape) -> Iterator[tuple[Any, Shape]]:
    """List the mappings whose fields are out of order, but for those that hold another such: their turn comes later."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _unordered(item, shape)
    elif isinstance(node, yaml.MappingNode):
        below = [
            found
            for key, value in node.value
            if key.value in shape.below
            for found in _unordered(value, shape.below[key.value])
        ]
        yield from below
        if not below and next(out_of_order({key.value: None for key, _ in node.value}, shape), None):
            yield node, shape


def _sorted_places(node: Any, shape: Shape) -> list[int]:
    """Say which item comes first, second, ...: known fields in their order, and others where they are."""
    places = range(len(node.value))
    known = [place for place in places if node.value[place][0].value in shape.order]
    right = iter(sorted(known, key=lambda place: shape.order[node.value[place][0].value]))
    return [next(right) if place in set(known) else place for place in places]


def _flow_order(text: str, node: Any, shape: Shape) -> list[Edit]:
    spans = [(key.start_mark.index, value.end_mark.index) for key, value in node.value]
    places = _sorted_places(node, shape)
    return [(*span, text[slice(*spans[place])]) for span, place in zip(spans, places, strict=True) if span != spans[place]]


def _block_order(text: str, node: Any, shape: Shape) -> list[Edit]:
    """Move the lines of a mapping's fields: each with the comment lines right above it."""
    starts = [key.start_mark.index for key, _ in node.value]
    column = node.start_mark.column
    before = text[_line_start(text, starts[0]) : starts[0]]
    if not _BEFORE_A_KEY.fullmatch(before):
        return []
    cuts = [_line_start(text, start) for start in starts]
    is_item = before.strip() != ""
    cuts[is_item:] = [_with_comments(text, cut, column, is_top=place == 0) for place, cut in enumerate(cuts)][is_item:]
    end = _block_end(text, node, column)
    parts = [text[cut:following] for cut, following in pairwise([*cuts, end])]
    if is_item:
        parts[0] = " " * column + parts[0][column:]
    moved = "".join(parts[place] for place in _sorted_places(node, shape))
    if is_item:
        comments, rest = _split_comments(moved)
        dash = " " * (len(before) - len(before.lstrip(" ")))
        moved = "".join(f"{dash}{comment}" for comment in comments) + before + rest[column:]
    return [(cuts[0], end, moved)]


def _split_comments(text: str) -> tuple[list[str], str]:
    """Take the comment lines off the top of a text; they come without their indentation."""
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    count = next(index for index, line in enumerate(lines) if not line.lstrip(" ").startswith("#"))
    return [line.lstrip(" ") for line in lines[:count]], "".join(lines[count:])


def _with_comments(text: str, cut: int, column: int, *, is_top: bool) -> int:
    """Say where a field's lines begin, with the comment lines above it; a file's own comment stays on top of the file."""
    first = cut
    while first > 0:
        above = _line_start(text, first - 1)
        line = text[above : first - 1]
        if len(line) - len(line.lstrip(" ")) != column or not line.lstrip(" ").startswith("#") or "$schema" in line:
            break
        first = above
    return cut if is_top and first == 0 else first


def _block_end(text: str, node: Any, column: int) -> int:
    """Say where the lines of a mapping end: before what follows it, with the comment lines that belong to that."""
    end = node.end_mark.index
    if end >= len(text):
        return len(text)
    end = _line_start(text, end)
    while end > 0:
        above = _line_start(text, end - 1)
        line = text[above : end - 1]
        is_comment = line.lstrip(" ").startswith("#") and len(line) - len(line.lstrip(" ")) < column
        if not is_comment and line.strip():
            break
        end = above
    return end


def _named(node: Any) -> str:
    fields = ", ".join(shown(key.value) for key, _ in node.value[:3])
    return f"the fields {fields}{', ...' if len(node.value) > 3 else ''}"


def _spelled(node: Any, shape: Shape, *, lists: bool = False) -> Iterator[tuple[Any, Spelling, str]]:
    """List the scalars, or the lists, of the fields that have a spelling."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _spelled(item, shape, lists=lists)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value in shape.below:
                yield from _spelled(value, shape.below[key.value], lists=lists)
            elif key.value in shape.spelled:
                is_list = isinstance(value, yaml.SequenceNode)
                takes_items = is_list and not lists and shape.spelled[key.value] is Spelling.LANGUAGE
                found = [value] if is_list == lists else value.value if takes_items else []
                yield from ((item, shape.spelled[key.value], key.value) for item in found)


def _expected(value: Any, shape: Shape | None, spelling: Spelling | None = None) -> Any:
    """Bring a value into the form in which it must be the same before and after."""
    if isinstance(value, list):
        items = [_expected(item, shape, spelling) for item in value]
        is_words = spelling in (Spelling.WORD, Spelling.LANGUAGE) and all(isinstance(item, str) for item in items)
        return list(dict.fromkeys(items)) if is_words else items
    if isinstance(value, dict):
        below, spelled = (shape.below, shape.spelled) if shape else ({}, {})
        return {key: _expected(item, below.get(key), spelled.get(key)) for key, item in value.items()}
    if isinstance(value, str):
        right = _respelled(value, spelling) if spelling else None
        return "\n".join(re.sub(r"[ \t]+", " ", line).rstrip(" ") for line in (right or value).split("\n")).rstrip("\n")
    return value


def _line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1
