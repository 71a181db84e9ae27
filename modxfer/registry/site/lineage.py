"""Where an entry comes from and what came of it, laid out as a tree of boxes. The templates draw it."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modxfer.registry.entries.models import AlignmentEntry, Base, Entry, ModuleEntry
from modxfer.registry.site.content import Content, Relations

WIDTH, GAP, INDENT = 298, 26, 22
"""Of a box, between two of them, and of each generation below; in pixels. A phone has room for one box without scrolling."""

LINE = 17
"""Height of a line of a label, in pixels."""

MOST_ANCESTORS = 6
MOST_DESCENDANTS = 12
"""How many are drawn; of the rest there is only the number."""

_COLUMNS = 31  # what fits a box, in widths of Latin letters; less in the round ones of alignment maps
_PADDING = {"alignment": 28}
_USUAL_PADDING = 16
_AROUND = 50  # height of a box without its label


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """What one box says.

    Attributes:
        kind: "module", "alignment", "model" or "more".
        role: What it is to the entry, in words.
        label: Its name, whole.
        id: Its id, whole; may be empty.
        page: Folder and id of the entry that it is; None for others and for what is not shown.
        is_here: Whether it is the entry itself.
    """

    kind: str
    role: str
    label: str
    id: str = ""
    page: tuple[str, str] | None = None
    is_here: bool = False

    @property
    def lines(self) -> list[str]:
        """The label in one or two lines, cut so that it fits."""
        return wrap(self.label, _COLUMNS - 3 if self.kind == "alignment" else _COLUMNS)

    @property
    def short_id(self) -> str:
        """The id, cut so that it fits."""
        return shorten(self.id, _COLUMNS if self.kind == "alignment" else _COLUMNS + 4)

    @property
    def height(self) -> int:
        """How high it is."""
        return _AROUND + LINE * len(self.lines) if self.role else 2 * LINE

    @property
    def padding(self) -> int:
        """How far its text is from its left edge."""
        return _PADDING.get(self.kind, _USUAL_PADDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A box and where it is.

    Attributes:
        box: The box.
        x: Its left edge.
        y: Its upper edge.
        way: The line from its parent, as the data of an SVG path; empty for the first.
    """

    box: Box
    x: int
    y: int
    way: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A lineage.

    Attributes:
        boxes: The boxes, from the oldest on.
        width: Of all of it.
        height: Of all of it.
    """

    boxes: tuple[Placed, ...]
    width: int
    height: int


def module_lineage(entry: ModuleEntry, content: Content, relations: Relations) -> Drawing | None:
    """Draw what a module was made from, and what was made from it.

    Args:
        entry: The module.
        content: What is shown.
        relations: How it hangs together.

    Returns:
        The drawing; None where there is nothing but the module.
    """
    above = _ancestors(entry, content)
    below = list(_descendants(entry, relations))
    if not above and not below:
        return None
    here = Box(kind="module", role="This module", label=entry.title, id=entry.id, is_here=True)
    return _draw([*((0, box) for box in above), (0, here), *below])


def alignment_lineage(entry: AlignmentEntry, relations: Relations) -> Drawing:
    """Draw between which base models an alignment map leads, and what was made with it.

    Args:
        entry: The alignment map.
        relations: How the entries hang together.

    Returns:
        The drawing.
    """
    here = Box(kind="alignment", role="This alignment map", label=entry.title, id=entry.id, is_here=True)
    made = relations.made_with.get(entry.id, [])
    boxes = [(1, _module_box(module, "Made with it")) for module in made[:MOST_DESCENDANTS]]
    return _draw(
        [
            (0, _model_box(entry.teacher, "Teacher")),
            (0, here),
            (0, _model_box(entry.student, "Student")),
            *boxes,
            *_more(len(made) - len(boxes)),
        ]
    )


def shorten(text: str, columns: int) -> str:
    """Cut a text in its middle, so that it fits.

    Args:
        text: The text.
        columns: Its room, in widths of Latin letters; others are up to twice as wide.

    Returns:
        The text, with an ellipsis where something was taken out.
    """
    if _columns(text) <= columns:
        return text
    head, tail = _fitting(text, (columns - 1) * 2 // 3), _fitting(text[::-1], (columns - 1) // 3)[::-1]
    return f"{head.rstrip()}…{tail.lstrip()}"


def wrap(text: str, columns: int) -> list[str]:
    """Break a text into two lines at most.

    Args:
        text: The text.
        columns: The room in a line, in widths of Latin letters; others are up to twice as wide.

    Returns:
        Lines that fit; the second ends in an ellipsis where something was left out.
    """
    if _columns(text) <= columns:
        return [text]
    first = _fitting(text, columns)
    space = max(first.rfind(" "), *(first.rfind(mark) + 1 for mark in "-/_"))
    first = first[:space] if space > len(first) // 2 else first
    rest = text[len(first) :].strip()
    return [first.rstrip(), rest if _columns(rest) <= columns else f"{_fitting(rest, columns - 1).rstrip()}…"]


def _fitting(text: str, columns: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _columns(char)
        if taken > columns:
            return text[:index]
    return text


def _columns(text: str) -> int:
    return sum(1 if char.isascii() or unicodedata.east_asian_width(char) in "NaHA" else 2 for char in text)


def _module_box(entry: ModuleEntry, role: str) -> Box:
    return Box(kind="module", role=role, label=entry.title, id=entry.id, page=(entry.folder, entry.id))


def _model_box(base: Base, role: str) -> Box:
    hidden = base.widths.get("hidden")
    return Box(kind="model", role=role, label=base.name, id=f"{base.family}, {hidden:,} wide" if hidden else base.family)


def _missing(kind: str, role: str, id: str) -> Box:
    return Box(kind=kind, role=role, label=id, id="not shown in this registry")


def _more(number: int) -> list[tuple[int, Box]]:
    return [(1, Box(kind="more", role="", label=f"and {number:,} more"))] if number > 0 else []


def _ancestors(entry: ModuleEntry, content: Content) -> list[Box]:
    """List the boxes above a module, the oldest first."""
    boxes: list[Box] = []
    seen = {entry.id}
    child = entry
    while child.lineage is not None:
        lineage = child.lineage
        if len(seen) > MOST_ANCESTORS:
            boxes.append(Box(kind="more", role="", label="and more before"))
            break
        alignment, teacher = content.alignment(lineage.alignment), content.module(lineage.teacher)
        boxes += _alignment_boxes(lineage.alignment, alignment)
        if teacher is None:
            boxes.append(_missing("module", "Teacher", lineage.teacher))
            break
        if teacher.id in seen:  # a cycle is a problem that the check reports; a drawing must end all the same
            break
        boxes.append(_module_box(teacher, "Teacher" if child is entry else "Teacher before"))
        seen.add(teacher.id)
        child = teacher
    return boxes[::-1]


def _alignment_boxes(id: str | None, entry: AlignmentEntry | None) -> list[Box]:
    if id is None:
        return []
    if entry is None:
        return [_missing("alignment", "Alignment map", id)]
    return [Box(kind="alignment", role="Alignment map", label=entry.title, id=entry.id, page=(entry.folder, entry.id))]


def _descendants(entry: ModuleEntry, relations: Relations) -> Iterator[tuple[int, Box]]:
    """Yield the boxes below a module with their depths, each child before its own children."""
    waiting: list[tuple[int, ModuleEntry]] = [(1, child) for child in reversed(relations.children.get(entry.id, []))]
    seen = {entry.id}
    drawn = 0
    while waiting:
        depth, child = waiting.pop()
        if child.id in seen:
            continue
        seen.add(child.id)
        drawn += 1
        if drawn <= MOST_DESCENDANTS:
            yield depth, _module_box(child, "Transferred from it" if depth == 1 else "Transferred further")
        waiting += [(depth + 1, below) for below in reversed(relations.children.get(child.id, []))]
    yield from _more(drawn - MOST_DESCENDANTS)


def _draw(rows: Sequence[tuple[int, Box]]) -> Drawing:
    """Place boxes one below the other, indented by their depth, each with a line from its parent."""
    placed: list[Placed] = []
    below: dict[int, int] = {}  # depth to the lower edge of the latest box there
    y = 0
    for depth, box in rows:
        placed.append(Placed(box=box, x=depth * INDENT, y=y, way=_way(depth, y, box.height, below)))
        below[depth] = y + box.height
        y = below[depth] + GAP
    deepest = max(depth for depth, _ in rows)
    return Drawing(boxes=tuple(placed), width=WIDTH + deepest * INDENT + 2, height=y - GAP + 2)


def _way(depth: int, y: int, height: int, below: dict[int, int]) -> str:
    """Draw from the box above on the same spine, or out of the parent's lower edge and then to the right."""
    if depth == 0:
        return f"M{WIDTH // 2} {below[0]}V{y - 3}" if 0 in below else ""
    x = (depth - 1) * INDENT + INDENT // 2
    return f"M{x} {below[depth - 1]}V{y + height // 2}H{depth * INDENT - 3}"


def describe(drawing: Drawing, entry: Entry) -> str:
    """Say in words what a drawing shows.

    Args:
        drawing: The drawing.
        entry: The entry that it is of.

    Returns:
        One sentence.
    """
    steps = [f"{placed.box.role}: {placed.box.id or placed.box.label}" for placed in drawing.boxes if placed.box.role]
    return f"Lineage of {entry.id}, oldest first. {'; '.join(steps)}."
