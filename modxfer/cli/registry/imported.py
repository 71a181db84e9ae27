"""What people read of an import. All of it may have been written by anyone, so it goes through `plain`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from modxfer.cli.registry.reports import plain
from modxfer.cli.tables import grid
from modxfer.registry.entries.fields import shown

if TYPE_CHECKING:
    from modxfer.registry.adapterhub.drafts import Note
    from modxfer.registry.adapterhub.importing import ImportReport


def imported_lines(report: "ImportReport") -> Iterator[RenderableType]:
    """Say what became of each file, and what was left out of it.

    Args:
        report: What was imported.

    Yields:
        For each file a table; in the end a summary.
    """
    for file in report.files:
        alias = f" (default: {plain(file.alias)})" if file.alias else ""
        yield Text(f"{plain(file.path)} -> {', '.join(map(plain, file.ids)) or 'refused'}{alias}", style="bold")
        notes = [*file.refused, *file.notes]
        if notes:
            table = grid("field", "value", "what became of it")
            for note in notes:
                table.add_row(*map(Text, _cells(note, is_refused=note in file.refused)))
            yield table
        yield ""
    written = f"{_count(len(report.written), 'file', 'files')} {'written' if report.is_done else 'would be written'}"
    files = _count(len(report.files), "file", "files")
    yield f"{_count(report.entries, 'entry', 'entries')} from {files}, {report.refused} refused; {written}."


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _cells(note: "Note", *, is_refused: bool) -> tuple[str, str, str]:
    return plain(note.field) or "all", shown(note.value)[1:-1], f"{'Refused: ' if is_refused else ''}{plain(note.why)}"
