"""A report as markdown, as GitHub and the Hub show it. Every text from outside is escaped, or a code span."""

import re
from collections.abc import Iterator, Sequence

from modxfer.experiments.report.document import (
    Bullets,
    Cell,
    Command,
    Document,
    Heading,
    Name,
    Paragraph,
    Part,
    Picture,
    Table,
    Text,
    joined,
)
from modxfer.registry.card_text import escape, one_line, span, table


def as_markdown(document: Document) -> str:
    """Write a report as markdown.

    Args:
        document: The report.

    Returns:
        The text.
    """
    lines = [f"# {_text(document.title)}", ""]
    for section in document.sections:
        lines += [f"## {section.title}", ""]
        for part in section.parts:
            lines += [*_part(part), ""]
    return "\n".join(lines).rstrip() + "\n"


def _part(part: Part) -> Iterator[str]:
    match part:
        case Heading():
            yield f"### {_text(part.text)}"
        case Paragraph():
            yield f"> **Mind:** {_text(part.text)}" if part.is_warning else _text(part.text)
        case Bullets():
            yield from (f"* {_text(item)}" for item in part.items)
        case Command():
            yield from _fenced(part.text)
        case Table():
            yield from _table(part)
        case Picture():
            yield f"![{_text(part.alternative)}]({part.file})"
            yield ""
            yield from _table(part.table)


def _table(part: Table) -> list[str]:
    lines = []
    for group in part.groups:
        if group.title:
            lines.append([f"**{group.title}**", *[""] * (len(part.columns) - 1)])
        lines += [_row(row) for row in group.rows]
    head, rule, *rest = table([_text(title) for title in part.columns], lines)
    return [head, _rule(part) if rule else rule, *rest]


def _rule(part: Table) -> str:
    return f"|{'|'.join(' --- ' if index < part.texts else ' ---: ' for index in range(len(part.columns)))}|"


def _row(cells: Sequence[Cell]) -> list[str]:
    return [f"**{_text(cell.text)}**" if cell.is_best else _text(cell.text) for cell in cells]


def _fenced(command: str) -> list[str]:
    line = one_line(command)
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", line, fence]


def _text(text: Text) -> str:
    return "".join(_outside(piece) if isinstance(piece, Name) else piece for piece in joined(text))


def _outside(name: Name) -> str:
    return (escape(name.text) or "?") if name.is_prose else span(name.text)
